"""Whole runs on a folder of images without a split, one of them unreadable."""

import json
import signal
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import hvjax
from train_tpu import train
from train_tpu.checkpointing.interrupt import StopRequest
from train_tpu.monitoring.metrics import CLOCKS, read_metrics
from train_tpu.train import run

SETTINGS = {
    "data.shift": 0,
    "data.flip": True,
    "data.batch_size": 8,
    "data.eval_batch_size": 8,
    "data.held_out": 0.3,
    "data.max_corrupt": 0.1,
    "data.color_jitter": 0.3,
}


@pytest.fixture
def own_images(tmp_path: Path) -> Path:
    """Fourteen JPEGs in each of two classes, and a file that is none."""
    rng, directory = np.random.default_rng(0), tmp_path / "pictures"
    for name in ("cat", "dog"):
        (directory / name).mkdir(parents=True)
        for i in range(14):
            pixels = rng.integers(0, 256, (5, 5, 3), np.uint8)
            Image.fromarray(pixels).resize((40, 30)).save(directory / name / f"{i}.jpg")
    (directory / "cat/broken.jpg").write_bytes(b"no image")
    (directory / "cat/notes.txt").write_text("")
    return directory


def numbers(workdir: Path) -> list[dict]:
    return [{k: v for k, v in row.items() if k not in CLOCKS} for row in read_metrics(workdir)]


def test_reading_ahead_by_threads_and_stopping_change_nothing(
    tiny_config, own_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """Read in the training thread without a stop, or by three threads and two batches ahead with one."""
    alone, stopped = tmp_path / "alone", tmp_path / "stopped"
    inline = tiny_config({**SETTINGS, "data.dir": str(own_images)})
    assert run(inline, alone) == 0
    said = capsys.readouterr().out
    assert "held out by the hash of their names" in said and "1 file ignored that is no image" in said
    assert json.loads((alone / "model.json").read_text())["class_names"] == ["cat", "dog"]

    class Stopping(StopRequest):
        def agreed(self, step: int) -> bool:
            if step == 3:
                signal.raise_signal(signal.SIGTERM)
            return super().agreed(step)

    threaded = tiny_config({**SETTINGS, "data.dir": str(own_images), "data.threads": 3})
    with monkeypatch.context() as patch:
        patch.setattr(train, "StopRequest", Stopping)
        assert run(threaded, stopped) == 143
    assert run(threaded, stopped) == 0
    assert numbers(stopped) == numbers(alone)
    weights = [hvjax.load_weights(workdir / "weights.safetensors")[1] for workdir in (alone, stopped)]
    jax.tree.map(np.testing.assert_array_equal, *weights)
    for workdir in (alone, stopped):
        (row,) = map(json.loads, (workdir / "quarantine.jsonl").read_text().splitlines())
        assert row["name"] == str(own_images / "cat/broken.jpg") and row["reason"] == "not an image"
