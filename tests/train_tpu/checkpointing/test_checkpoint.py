"""Reading checkpoints back, and what happens to damaged ones."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from train_tpu.checkpointing.checkpoint import load_inference
from train_tpu.errors import UserError
from train_tpu.train import run


@pytest.fixture
def workdir(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be damaged."""
    return Path(shutil.copytree(finished_run, tmp_path / "copy"))


def truncate(step: Path) -> None:
    """Cut every data file of a checkpoint in half, as a full disk or a lost cache would."""
    files = [path for path in (step / "model").rglob("*") if path.is_file() and "d" in path.parent.name]
    assert files
    for path in files:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_three_ways_to_name_a_checkpoint(finished_run: Path) -> None:
    last = load_inference(finished_run, "last")
    assert last.info["step"] == 8 and last.info["ema"] is True and last.info["model"] == "resnet50"
    assert set(last.variables) == {"params", "batch_stats"}
    for path in (finished_run / "checkpoints", finished_run / "checkpoints" / "8"):
        same = load_inference(path, "last")
        jax.tree.map(np.testing.assert_array_equal, same.variables, last.variables)
    logits = last.model.apply(last.variables, np.zeros((1, 16, 16, 3), np.float32))
    assert logits.shape == (1, 10)


def test_best_is_by_held_out_top1(workdir: Path) -> None:
    """Whatever the run measured: with the scores written over, the other checkpoint is the best."""
    for top1, best in (((0.9, 0.2), 4), ((0.2, 0.9), 8)):
        for step, value in zip((4, 8), top1, strict=True):
            path = workdir / "checkpoints" / str(step) / "metrics" / "metrics"
            path.write_text(json.dumps({**json.loads(path.read_text()), "top1": value}))
        assert load_inference(workdir).info["step"] == best


def test_average_and_raw_weights_are_told_apart(tiny_config, finished_run: Path, tmp_path: Path) -> None:
    assert run(tiny_config({"ema.horizon": 0.0, "schedule.steps": 2}), tmp_path / "run") == 0
    raw = load_inference(tmp_path / "run")
    assert raw.info["ema"] is False and set(raw.variables) == {"params", "batch_stats"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "no such checkpoint"),
        ("tensorboard", "holds no finished checkpoint"),
        ("checkpoints/5.orbax-checkpoint-tmp-1", "is not a finished checkpoint"),
    ],
)
def test_paths_that_hold_none(workdir: Path, name: str, message: str) -> None:
    (workdir / "checkpoints" / "5.orbax-checkpoint-tmp-1").mkdir()
    with pytest.raises(UserError, match=message):
        load_inference(workdir / name)


def test_half_written_checkpoint_is_not_taken_for_the_last(workdir: Path) -> None:
    half = workdir / "checkpoints" / "9.orbax-checkpoint-tmp-1"
    shutil.copytree(workdir / "checkpoints" / "8", half)
    assert load_inference(workdir, "last").info["step"] == 8


def test_damaged_checkpoint_is_reported(workdir: Path) -> None:
    truncate(workdir / "checkpoints" / "8")
    with pytest.raises(UserError, match=r"checkpoints/8 is damaged or of another model than resnet50"):
        load_inference(workdir, "last")


def test_checkpoint_of_another_model(workdir: Path) -> None:
    info = json.loads((workdir / "model.json").read_text())
    info["overrides"]["widths"] = [4, 4, 8, 16]
    (workdir / "model.json").write_text(json.dumps(info))
    message = r"another model than resnet50: .*stage4/block1.* has shape \(.*\) in the checkpoint and \("
    with pytest.raises(UserError, match=message):
        load_inference(workdir)


def test_model_description_of_another_format(workdir: Path) -> None:
    info = json.loads((workdir / "model.json").read_text())
    (workdir / "model.json").write_text(json.dumps({**info, "format": 2}))
    with pytest.raises(UserError, match="has format 2; this version reads 1"):
        load_inference(workdir)


def test_resume_passes_over_a_damaged_checkpoint(
    tiny_config, workdir: Path, finished_run: Path, capsys
) -> None:
    """And a half-written one: the run goes on from the one before, and ends as if nothing had been."""
    (workdir / "weights.safetensors").unlink()
    truncate(workdir / "checkpoints" / "8")
    shutil.copytree(finished_run / "checkpoints" / "8", workdir / "checkpoints" / "9.orbax-checkpoint-tmp-1")
    assert run(tiny_config(), workdir) == 0
    said = capsys.readouterr().out
    assert "warning: checkpoint 8 cannot be read" in said and "resuming after step 4 of 8" in said
    assert (workdir / "checkpoints" / "8.damaged").is_dir()
    again, before = load_inference(workdir, "last"), load_inference(finished_run, "last")
    jax.tree.map(np.testing.assert_array_equal, again.variables, before.variables)


def test_resume_with_nothing_but_damaged_checkpoints(tiny_config, workdir: Path) -> None:
    (workdir / "weights.safetensors").unlink()
    for step in (4, 8):
        truncate(workdir / "checkpoints" / str(step))
    with pytest.raises(UserError, match=r"none of the checkpoints in .* can be read"):
        run(tiny_config(), workdir)
