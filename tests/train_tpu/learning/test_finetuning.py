"""Fine-tuning on a folder of images, from the weights of a run on other classes and another image size."""

import itertools
import re
import shlex
from pathlib import Path

import jax
import numpy as np
import pytest

import hvjax
from train_tpu.checkpointing.checkpoint import load_inference
from train_tpu.flags import parse_command_line
from train_tpu.main import main
from train_tpu.train import run

TINY_RESNET = {"depths": (1, 1, 1, 1), "widths": (4, 4, 8, 8), "stem_channels": 8}  # that of `finished_run`
STEPS = {
    "schedule.steps": 4,
    "schedule.warmup_epochs": 0.0,
    "data.shift": 0,
    "data.batch_size": 8,
    "data.eval_batch_size": 10,
    "eval_every": 4,
    "ema.horizon": 0.0,
    "model.drop_path_rate": 0.0,
}


@pytest.fixture
def tuned(finished_run: Path, tiny_config, image_folder, tmp_path: Path):
    """Call with changes of the config: fine-tunes the finished run; gives its variables before and after."""

    def make(changes: dict):
        folder = image_folder(5)
        for file in sorted((folder / "train" / "dog").iterdir())[:3]:
            file.unlink()  # five cats, two dogs
        settings = {**STEPS, "data.dir": str(folder), "loss.class_weights": "balanced", **changes}
        assert run(tiny_config(settings), tmp_path / "tuned") == 0
        before = load_inference(finished_run, "best")
        after = load_inference(tmp_path / "tuned", "last")
        assert after.info["class_names"] == ["cat", "dog"]
        return before.variables, after.variables

    return make


def largest_change(before, after) -> dict[str, float]:
    """Per top-level part of the parameters, the head left out: it is another one."""
    return {
        name: max(
            float(np.abs(np.asarray(a) - np.asarray(b)).max())
            for a, b in zip(jax.tree.leaves(part), jax.tree.leaves(before["params"][name]), strict=True)
        )
        for name, part in after["params"].items()
        if name != "head"
    }


def test_linear_probe_trains_the_head_alone(finished_run: Path, tuned, capsys) -> None:
    before, after = tuned({"init": str(finished_run / "weights.safetensors"), "optimizer.freeze": "backbone"})
    said = capsys.readouterr().out
    assert "head is drawn at random (10 classes in the weights, 2 in the model)" in said
    assert set(largest_change(before, after).values()) == {0.0}
    assert after["params"]["head"]["kernel"].shape[-1] == 2
    assert np.abs(after["params"]["head"]["bias"]).max() > 0  # drawn as zeros
    for old, new in zip(
        jax.tree.leaves(before["batch_stats"]), jax.tree.leaves(after["batch_stats"]), strict=True
    ):
        np.testing.assert_array_equal(old, new)


def test_layers_learn_the_faster_the_nearer_they_are_to_the_head(finished_run: Path, tuned, capsys) -> None:
    """From a training directory, at twice the image size, with all keys of fine-tuning but freezing."""
    before, after = tuned(
        {
            "init": str(finished_run),
            "optimizer.layer_decay": 0.1,
            "data.image_size": 32,
            "optimizer.accumulate": 2,
        }
    )
    assert f"starting from {finished_run}" in capsys.readouterr().out
    change = largest_change(before, after)
    stages = [change[f"stage{i}"] for i in range(1, 5)]
    # Adam's steps have the size of the rate: each stage, a block here, moves about ten times the one before
    assert all(5 < later / earlier < 20 for earlier, later in itertools.pairwise(stages)), change
    assert 0 < change["stem"] < stages[0] / 5


def test_a_run_of_another_model_is_no_start(finished_run: Path, tiny_config, tmp_path: Path) -> None:
    from train_tpu.errors import UserError
    from train_tpu.learning.start import load_start

    model = hvjax.create_model("resnet101", num_classes=10)
    with pytest.raises(UserError, match=r"--config.init=.*: this is a run of resnet50, not of resnet101"):
        load_start(str(finished_run), model, 0, tmp_path)


def test_a_head_of_other_class_names_is_kept_and_said(finished_run: Path, tiny_config) -> None:
    from train_tpu.learning.start import load_start

    model = hvjax.create_model("resnet50", num_classes=10, **tiny_config().model.overrides.to_dict())
    digits = tuple(str(digit) for digit in range(10))
    for source in (finished_run, finished_run / "weights.safetensors"):
        variables, notes = load_start(str(source), model, 0, Path("nowhere"), digits)
        assert len(notes) == 1
        _, notes = load_start(str(source), model, 0, Path("nowhere"), digits[::-1])
        assert (
            "the head is kept, though its 10 classes have other names or another order ('0' there, '9'"
            in notes[1]
        )
        assert variables["params"]["head"]["bias"].shape == (10,)


def test_commands_of_the_page_are_accepted(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)
    page = (repository / "docs" / "finetuning.md").read_text().replace("\\\n", " ")
    commands = re.findall(r"^python -m train_tpu\.main (.*)$", page, re.MULTILINE)
    assert len(commands) > 5
    for command in commands:
        config = parse_command_line(shlex.split(command, comments=True)).config
        assert config.init and config.data.dir, command


def test_the_command_of_the_page(
    repository: Path, finished_run: Path, image_folder, tmp_path: Path, capsys
) -> None:
    """`:finetune` on a folder of two classes, from a file of ten; made small, and for two steps."""
    argv = [
        f"--config={repository}/configs/resnet50.py:finetune",
        f"--config.data.dir={image_folder(5)}",
        f"--config.init={finished_run / 'weights.safetensors'}",
        f"--workdir={tmp_path / 'run'}",
        f"--config.model.overrides={TINY_RESNET}",
        "--config.data.image_size=32",
        "--config.data.batch_size=8",
        "--config.data.eval_batch_size=8",
        "--config.data.threads=0",
        "--config.schedule.steps=2",
    ]
    assert main(argv) == 0
    said = capsys.readouterr()
    assert "head is drawn at random (10 classes in the weights, 2 in the model)" in said.out, said.err
    model, _ = hvjax.load_weights(tmp_path / "run" / "weights.safetensors")
    assert model.config.num_classes == 2
    before = load_inference(finished_run, "best").variables
    change = largest_change(before, load_inference(tmp_path / "run", "last").variables)
    assert 0 < change["stem"] < change["stage4"]
