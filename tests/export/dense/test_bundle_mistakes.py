"""Gates of segmenters, detectors and backbones that lie: one line, exit status 2."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bundles
import numpy as np
import pytest

from export import to_trt
from export.bundle import BundleError
from export.bundle.gatefile import GateFile
from export.bundle.tolerances import tolerances
from export.bundle.unpack import unpack

IMAGES, LISTED = 2, 3
RNG = np.random.default_rng(0)


def _drawn(*shape: int) -> np.ndarray:
    return RNG.uniform(0, 1, shape).astype(np.float32)


EXPECTED = {
    "map": {"logits": _drawn(IMAGES, 5, 8, 8)},
    "stages": {f"stage{i}": _drawn(IMAGES, 4 * i, 8 // i, 8 // i) for i in (1, 2)},
    "detections": {
        "boxes": _drawn(IMAGES, LISTED, 4),
        "scores": _drawn(IMAGES, LISTED),
        "labels": np.array([[0, 1, -1], [2, -1, -1]], np.int32),
        "masks": _drawn(IMAGES, LISTED, 4, 4),
    },
}


def gate_of(answers: str) -> GateFile:
    expected = EXPECTED[answers]
    limits = tolerances(answers, "fp32", 5e-5, expected)
    return GateFile("images", _drawn(IMAGES, 3, 8, 8), expected, limits, answers, least_score=0.05)


def arrays_of(gate: GateFile) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(gate.pack())) as file:
        return {key: file[key] for key in file.files}


def packed(arrays: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


@pytest.mark.parametrize("answers", EXPECTED)
def test_what_is_packed_is_unpacked(answers: str) -> None:
    gate = gate_of(answers)
    found = unpack(gate.pack())
    assert (found.answers, found.tolerances, found.least_score) == (answers, gate.tolerances, 0.05)
    assert list(found.expected) == list(gate.expected)
    for name, value in gate.expected.items():
        np.testing.assert_array_equal(found.expected[name], value)
        assert found.expected[name].dtype == value.dtype
    assert gate.pack() == gate.pack()


NAN = np.float32(np.nan)
#: answers, what is changed (None: left out), the message.
LIES: dict[str, tuple[str, dict[str, Any], str]] = {
    "unknown answers": ("map", {"answers": np.array("poses")}, "stages, map, detections are known"),
    "classes": ("map", {"answers": np.array("classes")}, "stages, map, detections are known"),
    "answers that are a number": ("map", {"answers": np.array(3)}, "answers is array(3)"),
    "several answers": ("map", {"answers": np.array(["map", "map"])}, "are known"),
    "no answer to compare with": ("map", {"output.logits": None}, "is not the gate of a bundle"),
    "no input": ("map", {"input.images": None}, "is not the gate of a bundle"),
    "two inputs": ("map", {"input.more": _drawn(IMAGES, 3, 8, 8)}, "is not the gate of a bundle"),
    "no least score": ("map", {"least_score": None}, "is not the gate of a bundle"),
    "two maps": (
        "map",
        {"output.more": _drawn(IMAGES, 5, 8, 8), **{f"tolerance.{k}.more": 0.1 for k in ("onnx", "engine")}}
        | {"tolerance.engine_tf32.more": 0.1},
        "holds 2 maps; one was expected",
    ),
    "a map without width": ("map", {"output.logits": _drawn(IMAGES, 5, 8)}, "is no map"),
    "a map that is not finite": (
        "map",
        {"output.logits": np.full((IMAGES, 5, 8, 8), NAN)},
        "not finite floating point numbers",
    ),
    "a map of whole numbers": (
        "map",
        {"output.logits": np.zeros((IMAGES, 5, 8, 8), int)},
        "not finite floating point numbers",
    ),
    "a map for fewer images": ("map", {"output.logits": _drawn(1, 5, 8, 8)}, "do not belong together"),
    "images that are none": ("map", {"input.images": _drawn(IMAGES, 8)}, "the inputs are not images"),
    "images that are not finite": (
        "map",
        {"input.images": np.full((IMAGES, 3, 8, 8), np.inf)},
        "the inputs are not images of finite numbers",
    ),
    "images that are text": (
        "map",
        {"input.images": np.full((IMAGES, 3, 8, 8), "x")},
        "the inputs are not images of finite numbers",
    ),
    "a rule without the other": (
        "detections",
        {"tolerance.engine.overlap": None, "tolerance.engine.sure": np.array(0.5)},
        "holds no tolerance.engine.overlap: not a whole gate",
    ),
    "a stage without a tolerance": (
        "stages",
        {"tolerance.engine.stage2": None},
        "holds no tolerance.engine.stage2: not a whole gate",
    ),
    "a stage without one for TF32": (
        "stages",
        {"tolerance.engine_tf32.stage2": None},
        "holds no tolerance.engine_tf32.stage2",
    ),
    "a tolerance without end": (
        "stages",
        {"tolerance.onnx.stage1": np.array(np.inf)},
        "tolerance.onnx.stage1 is inf, not between 0 and 1",
    ),
    "a tolerance that is no number": ("stages", {"tolerance.onnx.stage1": np.array(NAN)}, "is nan, not betw"),
    "a tolerance that is text": (
        "stages",
        {"tolerance.onnx.stage1": np.array("much")},
        "tolerance.onnx.stage1 is not one number",
    ),
    "detections without masks": ("detections", {"output.masks": None}, "holds boxes, scores, labels; expect"),
    "boxes of three numbers": (
        "detections",
        {"output.boxes": _drawn(IMAGES, LISTED, 3)},
        "shapes of no detections",
    ),
    "more scores than boxes": ("detections", {"output.scores": _drawn(IMAGES, 9)}, "shapes of no detections"),
    "labels of another shape": (
        "detections",
        {"output.labels": np.zeros((IMAGES, LISTED, 1), np.int32)},
        "shapes of no detections",
    ),
    "labels of another type": (
        "detections",
        {"output.labels": np.zeros((IMAGES, LISTED), np.int64)},
        "labels are not int32",
    ),
    "labels below none": (
        "detections",
        {"output.labels": np.full((IMAGES, LISTED), -2, np.int32)},
        "labels are not int32 from -1 on",
    ),
    "scores that are not finite": (
        "detections",
        {"output.scores": np.full((IMAGES, LISTED), NAN)},
        "not finite floating point numbers",
    ),
    "a least score that forgives all": ("detections", {"least_score": np.array(2.0)}, "no probability"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_gate_that_lies_is_refused(lie: str) -> None:
    answers, changed, message = LIES[lie]
    held = {**arrays_of(gate_of(answers)), **changed}
    with pytest.raises(BundleError) as caught:
        unpack(packed({key: value for key, value in held.items() if value is not None}))
    said = str(caught.value)
    assert message in said and said.startswith("gate.npz") and "\n" not in said


def _as_classes(folder: Path) -> None:
    """The gate of a classifier in place of the detector's."""
    limits = {"logits": 1e-5}
    gate = GateFile(
        input="images",
        inputs=_drawn(2, 3, 64, 64),
        expected={"logits": _drawn(2, 5)},
        tolerances={"onnx": limits, "engine": limits, "engine_tf32": limits},
    )
    bundles.replace(folder, "gate.npz", gate.pack())


def _as_map(folder: Path) -> None:
    bundles.replace(folder, "gate.npz", gate_of("map").pack())


def _manifest(edit: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    return lambda folder: bundles.change(folder, edit)


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "a newer format": (_manifest(lambda m: m.update(format=3)), "reads up to 2: use a newer hvjax"),
    "an older format": (
        _manifest(lambda m: m.update(format=1)),
        "has format 1, and gate.npz holds detections, which is of format 2",
    ),
    "the gate of a classifier": (_as_classes, "is incomplete or damaged ('output')"),
    "the gate of a segmenter": (_as_map, "model.answers is not map"),
    "no outputs": (_manifest(lambda m: m.pop("outputs")), "is incomplete or damaged"),
    "outputs that are none": (_manifest(lambda m: m.update(outputs=7)), "is incomplete or damaged"),
    "an output too few": (_manifest(lambda m: m["outputs"].pop()), "gate.npz belongs to another model"),
    "outputs in another order": (
        _manifest(lambda m: m["outputs"].reverse()),
        "gate.npz belongs to another model",
    ),
    "other shapes": (
        _manifest(lambda m: m["outputs"][0].update(shape=[9, 4])),
        "and manifest.json says images (3, 64, 64) float32 and boxes (9, 4) float32",
    ),
    "other types": (
        _manifest(lambda m: m["outputs"][2].update(dtype="int64")),
        "gate.npz belongs to another model",
    ),
    "a larger batch": (
        _manifest(lambda m: m["model"]["batch"].update(maximum=9)),
        "holds 4 images, fewer than a batch of 9",
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_bundle_is_refused(kind: str, exported_detector: Path, tmp_path: Path, capsys: Any) -> None:
    damage, message = DAMAGE[kind]
    folder = Path(shutil.copytree(exported_detector, tmp_path / "b"))
    damage(folder)
    assert to_trt.main(["--onnx", str(folder), "--runtime", "onnxruntime"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1, captured.err
    assert message in captured.err and not (folder / "onnxruntime").exists()


def test_a_file_with_other_outputs_is_one_line(exported_detector: Path, tmp_path: Path, capsys: Any) -> None:
    """The manifest, the gate and its hashes agree, and the file does not."""
    import onnx

    folder = Path(shutil.copytree(exported_detector, tmp_path / "b"))
    model = onnx.load(folder / "model.onnx")
    del model.graph.output[:1]
    bundles.replace(folder, "model.onnx", model.SerializeToString())
    assert to_trt.main(["--onnx", str(folder), "--runtime", "onnxruntime"]) == 1
    captured = capsys.readouterr()
    assert "model.onnx does not answer as the bundle says: the candidate has no output boxes" in captured.err
    assert "Traceback" not in captured.err and json.loads((folder / "manifest.json").read_text())
