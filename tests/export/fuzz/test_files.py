"""Damaged files of every kind are refused in words; tests/benchmarks/fuzz_files.py tries many more.

A reader may take a damaged file whose meaning is unharmed. What it may not is to fail with another error than
it documents: a command would end in a traceback.
"""

from __future__ import annotations

import json
import logging
import random
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from damage import damaged
from damaged_files import READERS, samples, write_run
from onnx import TensorProto
from PIL import Image

import export.run
from export.gate_images import from_checkpoint
from export.load import load_source
from export.recipe import RecipeError, find_recipe

# Those that take milliseconds a file; the others are left to the long run.
QUICK = ("gate", "held_out", "image", "onnx", "beside", "recipe", "torch_names")
TRIES = 40
NO_NUMBERS = [
    None,
    -1,
    0,
    10**30,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x",
    [],
    {},
    [[]],
    True,
    1e-300,
    "9" * 5000,
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    folder = tmp_path_factory.mktemp("whole")
    return {name: samples(name, folder) for name in QUICK}


@pytest.mark.filterwarnings("ignore")  # of Pillow and NumPy about what they find in such files
@pytest.mark.parametrize("name", QUICK)
def test_damage_is_told_in_words(name: str, whole: dict[str, list[Path]]) -> None:
    reader, refused = READERS[name], 0
    for seed in range(TRIES):
        rng = random.Random(seed)
        path = rng.choice(whole[name])
        good = path.read_bytes()
        path.write_bytes(damaged(good, rng))
        try:
            reader.read(path)
        except reader.accepted as error:
            refused += 1
            assert str(error).strip()
        finally:
            path.write_bytes(good)
    assert refused  # or the damage is none
    for path in whole[name]:
        if name != "torch_names":  # a file of another model
            reader.read(path)


@pytest.mark.parametrize(
    "place", [("crop", "size"), ("crop", "crop_pct"), ("mean",), ("std",), ("input", "layout")]
)
def test_impossible_numbers_in_a_recipe(place: tuple[str, ...], whole: dict[str, list[Path]]) -> None:
    (path,) = (path for path in whole["recipe"] if path.name == "preprocess.json")
    good = path.read_text()
    try:
        for value in [*NO_NUMBERS, [0, 0, 0], [8, -8], [1e308, 8]]:
            said = json.loads(good)
            entry = said
            for key in place[:-1]:
                entry = entry[key]
            entry[place[-1]] = value
            path.write_text(json.dumps(said))
            if place == ("crop", "crop_pct") and value is True:
                continue  # 1
            if place == ("mean",) and value == [0, 0, 0]:
                continue
            with pytest.raises(RecipeError, match=r"preprocess\.json is incomplete or damaged"):
                find_recipe(path.parent, {}, None)
    finally:
        path.write_text(good)


def test_names_of_classes_that_are_no_list(tmp_path: Path, whole: dict[str, list[Path]]) -> None:
    for path in whole["recipe"]:
        (tmp_path / path.name).write_text(path.read_text())
    for names in ("abc", {"a": 1}, 3):
        (tmp_path / "labels.json").write_text(json.dumps(names))
        with pytest.raises(RecipeError, match="names of classes that are a"):
            find_recipe(tmp_path, {}, None)


@pytest.mark.parametrize("name", ["gate.npz", "plain.npz"])
def test_an_archive_whose_checksum_is_wrong(name: str, whole: dict[str, list[Path]], tmp_path: Path) -> None:
    (good,) = (path for path in whole["held_out"] if path.name == name)
    data = bytearray(good.read_bytes())
    data[len(data) // 2] ^= 0xFF
    (tmp_path / name).write_bytes(bytes(data))
    with pytest.raises(ValueError, match=f"{name} is not a file of held-out images"):
        from_checkpoint(tmp_path / name, (8, 8), 3, 4)


# --- model.json of a training run ----------------------------------------------------------------------

MODEL_JSON: dict[str, Any] = {
    "not JSON": ("{", "cannot be read as JSON"),
    "no text": (b"\xff\xfe\x00", "cannot be read as JSON"),
    "a list": ("[]", "holds a list, no table"),
    "another format": ("{}", "has format None"),
    "no model": ('{"format": 1}', "is incomplete or damaged: no 'model'"),
    "an unknown model": (
        '{"format": 1, "model": "x", "num_classes": 3, "overrides": {}}',
        r"model\.json is incomplete or damaged",
    ),
    "no size": (
        '{"format": 1, "model": "resnet50", "num_classes": 3, "overrides": {}, "image_size": "big"}',
        r"model\.json is incomplete or damaged",
    ),
    "widths of another kind": (
        '{"format": 1, "model": "resnet50", "num_classes": 3, "overrides": {"widths": 3}}',
        r"model\.json is incomplete or damaged",
    ),
}


@pytest.mark.parametrize("kind", MODEL_JSON)
def test_a_damaged_model_json(kind: str, tmp_path: Path) -> None:
    content, message = MODEL_JSON[kind]
    step = tmp_path / "checkpoints" / "3"
    (step / "model").mkdir(parents=True)
    (step / "_CHECKPOINT_METADATA").write_text("{}")
    (tmp_path / "model.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message):
        load_source(str(tmp_path))


@pytest.mark.parametrize("content", ["", "[1]", '{"top1": "much"}', '{"loss": 1.0}'])
def test_damaged_metrics_of_a_checkpoint(content: str, tmp_path: Path) -> None:
    step = tmp_path / "checkpoints" / "3"
    for folder in ("model", "metrics"):
        (step / folder).mkdir(parents=True)
    (step / "_CHECKPOINT_METADATA").write_text("{}")
    (step / "metrics" / "metrics").write_text(content)
    with pytest.raises(ValueError, match="metrics"):
        load_source(str(tmp_path))


# --- the command that shows images ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"This is text, not an image.\n", "not an image"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "picture.jpg"),
    ],
)
def test_export_run_on_what_is_no_image(
    content: bytes, message: str, whole: dict[str, list[Path]], tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "picture.jpg").write_bytes(content)
    line = _said(capsys, whole["onnx"][0], tmp_path / "picture.jpg", tmp_path / "out")
    assert "picture.jpg" in line and message in line


def test_export_run_on_an_image_that_claims_to_be_huge(
    whole: dict[str, list[Path]], tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow refuses what would fill the memory; here at a limit that a test can reach."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(tmp_path / "bomb.png")
    line = _said(capsys, whole["onnx"][0], tmp_path / "bomb.png", tmp_path / "out")
    assert "bomb.png" in line and "decompression bomb" in line


def test_export_run_with_a_name_too_long(whole: dict[str, list[Path]], tmp_path: Path, capsys: Any) -> None:
    assert "File name too long" in _said(capsys, Path("x" * 5000), tmp_path / "a.png", tmp_path / "out")


def _said(capsys: Any, model: Path, image: Path, out: Path) -> str:
    """The one line of a refusal that leaves nothing behind."""
    assert export.run.main(["--onnx", str(model), "--image", str(image), "--out", str(out)]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and captured.out == "" and not out.exists()
    return captured.err


# --- arrays of a checkpoint that cannot be read -----------------------------------------------------------


def test_a_checkpoint_without_an_array_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The readers of the other arrays each raise in a callback, where Python prints what nobody catches."""
    from train_tpu.checkpointing.storage import hush_orphans

    printed: list[str] = []
    log = logging.getLogger("asyncio")
    monkeypatch.setattr(log, "filters", [])
    monkeypatch.setattr(sys, "unraisablehook", lambda event: printed.append(str(event.exc_value)))
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, traceback: printed.append(str(error)))
    hush_orphans()
    once = sys.unraisablehook
    hush_orphans()
    assert sys.unraisablehook is once
    for text in ("Event loop is closed", "coroutine 'f.<locals>.write_fragment' was never awaited", "other"):
        sys.unraisablehook(SimpleNamespace(exc_value=RuntimeError(text)))
        sys.excepthook(RuntimeError, RuntimeError(text), None)
    assert printed == ["other", "other"]
    for text, passes in (("Task exception was never retrieved", False), ("a slow callback", True)):
        assert bool(log.filter(logging.makeLogRecord({"msg": text}))) is passes


def test_a_run_that_lost_files_of_its_checkpoint(tmp_path: Path) -> None:
    write_run(tmp_path)
    assert load_source(str(tmp_path)).name == "resnet50"
    lost = [path for path in (tmp_path / "checkpoints" / "3" / "model").rglob("*") if path.is_file()]
    for path in lost:
        content = path.read_bytes()
        path.unlink()
        try:
            load_source(str(tmp_path))  # some are copies that nobody reads
        except ValueError as error:
            assert "checkpoint" in str(error)
        path.write_bytes(content)
    shutil.rmtree(tmp_path / "checkpoints" / "3" / "model" / "d", ignore_errors=True)
    with pytest.raises(ValueError, match="is damaged or of another model than resnet50"):
        load_source(str(tmp_path))


def _dimension(index: int, size: int) -> Any:
    return lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[index], "dim_value", size)


STRANGE: dict[str, tuple[Any, str]] = {
    "a negative batch": (_dimension(0, -5), "these are no images"),
    "an enormous image": (_dimension(2, 2**40), "these are no images"),
    "text as input": (
        lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", TensorProto.STRING),
        "does not load the file",
    ),
    "a type that is none": (
        lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 77),
        "is not an ONNX model with one input of images",
    ),
    "no outputs": (lambda m: m.graph.ClearField("output"), "logits or probabilities are needed"),
    "no nodes": (lambda m: m.graph.ClearField("node"), "does not load the file"),
    "an operator that is none": (
        lambda m: setattr(m.graph.node[3], "op_type", "Nonsense"),
        "does not load the file",
    ),
    "a circle": (lambda m: m.graph.node[0].input.__setitem__(0, "logits"), "does not load the file"),
    "weights of another place": (
        lambda m: _outside(m.graph.initializer[0], "../../../etc/passwd"),
        "does not load the file",
    ),
    "an opset of the future": (
        lambda m: setattr(m.opset_import[0], "version", 9999),
        "does not load the file",
    ),
}


def _outside(tensor: Any, location: str) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location


@pytest.mark.parametrize("kind", STRANGE)
def test_export_run_on_strange_models(
    kind: str, whole: dict[str, list[Path]], tmp_path: Path, capsys: Any
) -> None:
    change, message = STRANGE[kind]
    model = onnx.load(whole["onnx"][0])
    change(model)
    (tmp_path / "strange.onnx").write_bytes(model.SerializeToString())
    line = _said(capsys, tmp_path / "strange.onnx", whole["image"][0], tmp_path / "out")
    assert message in line and "--onnx" in line
