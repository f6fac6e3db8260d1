"""The names of the classes travel from the folders of a training run to the answers of an exported model."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from export import run as run_command
from export import to_onnx
from hvjax.weights.io import read_info
from train_tpu.checkpointing.checkpoint import load_inference
from train_tpu.evaluation.confusion import draw_confusion
from train_tpu.train import run

NAMES = ("Großer Hund", "a, b and 'c'", "猫")  # spaces, a comma, quotes, letters of more than one byte

STEPS = {
    "schedule.steps": 1,
    "schedule.warmup_epochs": 0.0,
    "data.shift": 0,
    "data.batch_size": 4,
    "data.eval_batch_size": 6,
    "ema.horizon": 0.0,
    "data.image_size": 32,
}


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of noise, in a folder of data that has three classes of such images."""
    directory = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in NAMES:
            (directory / split / name).mkdir(parents=True)
            for i in range(2):
                pixels = rng.integers(0, 256, (40, 40, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(directory / split / name / f"{i}.png")
    return directory / "val" / NAMES[0] / "0.png"


@pytest.fixture(scope="module")
def workdir(tiny_config, photo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("run") / "run"
    assert run(tiny_config({**STEPS, "data.dir": str(photo.parents[2])}), workdir) == 0
    return workdir


def test_evaluation_draws_the_names(tmp_path: Path) -> None:
    """With a letter that the pictures' font lacks; a warning would be an error here."""
    draw_confusion(np.eye(3, dtype=int), NAMES, tmp_path / "confusion.png", f"accuracy of {NAMES[2]}")
    assert (tmp_path / "confusion.png").stat().st_size > 0


def test_run_and_weights_file_have_the_names(workdir: Path) -> None:
    assert tuple(load_inference(workdir).info["class_names"]) == NAMES
    assert read_info(workdir / "weights.safetensors").class_names == NAMES


@pytest.mark.parametrize("source", ["", "weights.safetensors"])
def test_export_has_the_names(workdir: Path, photo: Path, source: str, tmp_path: Path, capsys) -> None:
    """In the bundle, in the metadata of the ONNX file, and in what either says of an image."""
    bundle = tmp_path / "bundle"
    assert to_onnx.main(["--ckpt", str(workdir / source), "--out", str(bundle), "--gate-images", "2"]) == 0
    assert tuple(json.loads((bundle / "labels.json").read_text(encoding="utf-8"))) == NAMES
    metadata = {entry.key: entry.value for entry in onnx.load(bundle / "model.onnx").metadata_props}
    assert tuple(json.loads(metadata["class_names"])) == NAMES

    alone = tmp_path / "alone" / "model.onnx"
    alone.parent.mkdir()
    alone.write_bytes((bundle / "model.onnx").read_bytes())
    for model in (bundle, alone):
        capsys.readouterr()
        assert (
            run_command.main(["--onnx", str(model), "--image", str(photo), "--out", str(tmp_path / "out")])
            == 0
        )
        said = capsys.readouterr().out
        assert all(name in said for name in NAMES), said
