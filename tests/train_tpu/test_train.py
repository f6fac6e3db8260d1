"""Whole runs of a tiny model: what they leave behind, and that stopping and resuming changes nothing."""

import json
import signal
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import hvjax
from train_tpu import train
from train_tpu.checkpointing.interrupt import StopRequest
from train_tpu.errors import RunFailed, UserError
from train_tpu.monitoring.metrics import CLOCKS, read_metrics
from train_tpu.train import run


def computed(workdir: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k not in CLOCKS} for row in read_metrics(workdir)]


def stop_at(monkeypatch: pytest.MonkeyPatch, steps: dict[int, int]) -> None:
    """Have the process signal itself while the given steps are computed: {step: signal}."""

    class Stopping(StopRequest):
        def agreed(self, step: int) -> bool:
            if step in steps:
                signal.raise_signal(steps.pop(step))
            return super().agreed(step)

    monkeypatch.setattr(train, "StopRequest", Stopping)


def test_run_leaves_everything_behind(finished_run: Path) -> None:
    for name in ("config.json", "model.json", "gate.npz", "metrics.jsonl", "weights.safetensors"):
        assert (finished_run / name).stat().st_size > 0, name
    assert (finished_run / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    assert list((finished_run / "tensorboard").iterdir())
    assert (finished_run / "checkpoints" / "8").is_dir()

    info = json.loads((finished_run / "model.json").read_text())
    assert info["model"] == "resnet50" and info["num_classes"] == 10 and info["image_size"] == [16, 16]
    gate = np.load(finished_run / "gate.npz")
    assert gate["images"].shape == (64, 16, 16, 3) and gate["images"].dtype == np.uint8
    assert gate["labels"].shape == (64,) and set(gate["labels"]) == set(range(10))

    rows = read_metrics(finished_run)
    assert [row["step"] for row in rows if row["split"] == "train"] == list(range(1, 9))
    held_out = [(row["step"], row["weights"]) for row in rows if row["split"] == "held_out"]
    assert held_out == [(4, "raw"), (4, "ema"), (8, "raw"), (8, "ema")]
    assert all(row["count"] == 360 for row in rows if row["split"] == "held_out")


def test_interrupted_run_equals_uninterrupted_run(
    finished_run: Path, tiny_config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """Stopped twice, by either signal: every number and the final weights are the same bits."""
    stop_at(monkeypatch, {3: signal.SIGTERM, 6: signal.SIGINT})
    workdir = tmp_path / "run"
    assert run(tiny_config(), workdir) == 143
    assert "saved step 3 of 8" in capsys.readouterr().out
    assert run(tiny_config(), workdir) == 130
    assert "resuming after step 3 of 8" in capsys.readouterr().out
    assert run(tiny_config(), workdir) == 0
    assert computed(workdir) == computed(finished_run)
    _, resumed = hvjax.load_weights(workdir / "weights.safetensors")
    _, uninterrupted = hvjax.load_weights(finished_run / "weights.safetensors")
    jax.tree.map(np.testing.assert_array_equal, resumed, uninterrupted)


def test_another_seed_gives_other_numbers(finished_run: Path, tiny_config, tmp_path: Path) -> None:
    """The equality above is not that of a run which ignores its inputs."""
    assert run(tiny_config({"seed": 1, "schedule.steps": 2}), tmp_path / "run") == 0
    assert computed(tmp_path / "run")[0]["loss"] != computed(finished_run)[0]["loss"]


def test_finished_run_says_so(finished_run: Path, tiny_config, capsys) -> None:
    before = (finished_run / "metrics.jsonl").read_bytes()
    assert run(tiny_config(), finished_run) == 0
    assert "this run is finished (8 steps)" in capsys.readouterr().out
    assert (finished_run / "metrics.jsonl").read_bytes() == before


def test_workdir_of_another_config_is_refused(finished_run: Path, tiny_config) -> None:
    with pytest.raises(UserError, match=r"another config \(optimizer.weight_decay: 0.05 there, 0.3 now\)"):
        run(tiny_config({"optimizer.weight_decay": 0.3}), finished_run)


def test_what_is_only_seen_of_a_run_may_change(finished_run: Path, tiny_config) -> None:
    assert run(tiny_config({"log_every": 3}), finished_run) == 0


def test_workdir_with_other_files_is_refused(tiny_config, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match="not empty"):
        run(tiny_config(), tmp_path)


def test_non_finite_loss_stops_and_keeps_the_last_good_checkpoint(
    tiny_config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rate that becomes NaN at step 6 makes the weights NaN while loss and gradients still look well."""
    learning_rate = train.schedule.learning_rate

    def poisoned(*args):
        rate = learning_rate(*args)
        return lambda step: jax.numpy.where(step == 5, np.nan, rate(step))

    monkeypatch.setattr(train.schedule, "learning_rate", poisoned)
    workdir = tmp_path / "run"
    with pytest.raises(RunFailed, match=r"not finite at step 6: .*new weights nan.*last good checkpoint: 4"):
        run(tiny_config({"checkpoint_every": 6}), workdir)
    from train_tpu.checkpointing.checkpoint import load_inference

    variables = load_inference(workdir, "last").variables
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(variables))


def test_run_on_an_image_folder(tiny_config, image_folder, tmp_path: Path, capsys) -> None:
    """Classes come from the folders, a bad file is named at the end, a short list of classes has a top-5."""
    directory = image_folder(count=6)
    (directory / "train/cat/3.png").write_bytes(b"broken")
    changes = {
        "data.dir": str(directory),
        "data.shift": 0,
        "data.threads": 2,
        "data.batch_size": 8,
        "data.max_corrupt": 0.1,
        "schedule.steps": 4,
    }
    workdir = tmp_path / "run"
    assert run(tiny_config(changes), workdir) == 0
    said = capsys.readouterr().out
    assert "data: images, 12 images in 2 classes, 12 more held out" in said and "NOTICE" not in said
    assert "1 unreadable image skipped:" in said and "cat/3.png: not an image" in said
    info = json.loads((workdir / "model.json").read_text())
    assert info["class_names"] == ["cat", "dog"] and info["num_classes"] == 2
    scores = [row for row in read_metrics(workdir) if row["split"] == "held_out"]
    assert scores and all(row["count"] == 12 and row["top5"] == 1.0 for row in scores)


def test_image_size_that_the_model_cannot_take(tiny_config, tmp_path: Path) -> None:
    from ml_collections import ConfigDict

    changes = {"model.name": "next_vit_s", "model.overrides": ConfigDict(), "data.image_size": 8}
    with pytest.raises(UserError, match=r"image_size=8: images of 8x8 are too small"):
        run(tiny_config(changes), tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.name": "next_vit_x"}, r"unknown model 'next_vit_x'; did you mean next_vit_"),
        ({"model.dtype": "float16"}, r"unknown model.dtype 'float16'; did you mean .*float"),
    ],
)
def test_models_that_do_not_exist(tiny_config, tmp_path: Path, changes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        run(tiny_config(changes), tmp_path / "run")
    assert not (tmp_path / "run").exists(), "a refused command leaves nothing behind"


def test_model_fields_that_do_not_exist(tiny_config, tmp_path: Path) -> None:
    from ml_collections import ConfigDict

    with pytest.raises(UserError, match="resnet50 has no config field 'depth'; did you mean depths"):
        run(tiny_config({"model.overrides": ConfigDict({"depth": 3})}), tmp_path / "run")
