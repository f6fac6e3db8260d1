"""Bundles of segmenters, detectors and backbones: what is in them, and engines built from them alone."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from bundles import entry
from played_engine import play
from road import walk

import hvjax
from export import detections, pack, parity, sure, to_onnx, to_trt
from export._optional import available
from export.answers import DEPLOY_FORM
from export.batch import BatchRange
from export.bundle import FILES
from export.bundle.gatefile import GateFile
from export.bundle.read import Bundle, read_bundle
from export.bundle.result import Result
from export.bundle.tolerances import tolerances
from export.bundle.trial import gate_tf32
from export.bundle.write import ENOUGH, KEPT_IMAGES, kept
from export.runtimes.onnxruntime import OnnxSession

SIZE = 64
SMALL = ["--via", "stablehlo", "--image-size", str(SIZE), "--batch", "2", "--gate-images", "4"]
THINGS = 8
STAGES = ["stage1", "stage2", "stage3", "stage4"]
DETECTIONS = list(detections.DETECTIONS)
needs_rtx = pytest.mark.skipif(
    not available("tensorrt_rtx_bindings"), reason="TensorRT for RTX is not installed: hvjax[tensorrt-rtx]"
)


@pytest.fixture(scope="module")
def exported_backbone(small_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of any batch from 1 to 3, in the order of dimensions of JAX, and it takes pictures."""
    out = tmp_path_factory.mktemp("exported") / "backbone"
    given = ["--ckpt", str(small_weights), "--backbone", "--out", str(out), *SMALL, "--batch", "1:2:3"]
    assert to_onnx.main([*given, "--input-layout", "nhwc", "--preprocess", "normalise"]) == 0
    return out


@pytest.fixture
def folders(exported_segmenter: Path, exported_detector: Path, exported_backbone: Path) -> dict[str, Path]:
    return {"map": exported_segmenter, "detections": exported_detector, "stages": exported_backbone}


OUTPUTS = {
    "map": [("logits", "float32", [THINGS + 1, SIZE, SIZE])],
    "detections": [
        ("boxes", "float32", [12, 4]),
        ("scores", "float32", [12]),
        ("labels", "int32", [12]),
        ("masks", "float32", [12, 28, 28]),
    ],
    "stages": [(f"stage{i + 1}", "float32", [SIZE // 4 // 2**i] * 2 + [64 * 2**i]) for i in range(4)],
}
TRITON_TYPES = {"float32": "TYPE_FP32", "int32": "TYPE_INT32", "uint8": "TYPE_UINT8"}


def _report(folder: Path) -> Any:
    return json.loads((folder / "report.json").read_text())


def _lines(report: Any, candidate: str) -> list[Any]:
    return [line for line in report["gate"]["comparisons"] if line["candidate"] == candidate]


# --- what an export writes ----------------------------------------------------------------------------


@pytest.mark.parametrize("answers", OUTPUTS)
def test_an_export_is_a_bundle(answers: str, folders: dict[str, Path]) -> None:
    folder = folders[answers]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["format"] == 2 and manifest["model"]["answers"] == answers
    assert manifest["files"] == {name: entry((folder / name).read_bytes()) for name in FILES}
    said = [(one["name"], one["dtype"]) for one in manifest["outputs"]]
    assert said == [(name, dtype) for name, dtype, _ in OUTPUTS[answers]]
    if answers != "stages":  # whose channels are those of a small network
        assert [one["shape"] for one in manifest["outputs"]] == [shape for *_, shape in OUTPUTS[answers]]
    (tensor,) = onnx.load(folder / "model.onnx").graph.input
    assert manifest["input"]["name"] == tensor.name
    held = read_bundle(folder).gate
    assert held.answers == answers and list(held.expected) == [name for name, *_ in OUTPUTS[answers]]
    assert held.inputs.dtype == (np.uint8 if answers == "stages" else np.float32)
    served = (folder / "config.pbtxt").read_text()
    for one in (manifest["input"], *manifest["outputs"]):
        dims = ([] if answers == "stages" else [2]) + one["shape"]
        said = f"data_type: {TRITON_TYPES[one['dtype']]}\n    dims: [ {', '.join(map(str, dims))} ]"
        assert f'name: "{one["name"]}"\n    {said}' in served
    assert served.count("output [") == len(OUTPUTS[answers])


def test_the_gate_holds_what_jax_answers(exported_segmenter: Path, segmenter: Path) -> None:
    """JAX is asked again, in the training form, and not the bundle."""
    import jax

    gate = read_bundle(exported_segmenter).gate
    model, variables = hvjax.load_weights(segmenter)
    wanted = np.asarray(jax.jit(model.apply)(variables, gate.inputs[:2].transpose(0, 2, 3, 1)))
    held = gate.expected["logits"][:2].transpose(0, 2, 3, 1)
    assert parity.difference(held, wanted).relative <= parity.FP32_MAP_LIMIT


def test_a_detectors_gate_has_limits_of_its_own_for_each_output(exported_detector: Path) -> None:
    gate = read_bundle(exported_detector).gate
    lost, with_tf32 = {"labels": detections.LOST_LIMIT}, {**sure.LIMITS["fp16"], **sure.RULES}
    assert gate.tolerances == {
        "onnx": {**detections.LIMITS, **lost},
        "engine": {**detections.ENGINE_LIMITS, **lost},
        "engine_tf32": with_tf32,
    }
    assert gate.least_score == 0.05 and (gate.expected["labels"] >= 0).any()


def test_maps_are_held_to_the_limits_that_an_export_has() -> None:
    maps = {"logits": np.zeros((1, 5, 8, 8), np.float32)}
    whole = tolerances("map", "fp32", parity.FP32_MAP_LIMIT, maps)
    assert whole["onnx"]["logits"] == 5e-5 and whole["engine"]["logits"] == pytest.approx(2.5e-4)
    assert whole["engine_tf32"]["logits"] == parity.ENGINE_TF32_LIMIT
    half = tolerances("map", "bf16", parity.BF16_LIMIT, maps)
    assert {limits["logits"] for limits in half.values()} == {parity.BF16_LIMIT}


def _maps(images: int, side: int) -> GateFile:
    """Arrays that take no memory."""
    expected = {"logits": np.broadcast_to(np.float32(0), (images, 150, side, side))}
    inputs = np.broadcast_to(np.float32(0), (images, 3, side, side))
    return GateFile("images", inputs, expected, tolerances("map", "fp32", 5e-5, expected), "map")


def test_large_maps_are_kept_for_the_largest_batch_only() -> None:
    assert len(kept(_maps(20, 16), BatchRange(1, 1, 1))) == KEPT_IMAGES
    large = _maps(4, 512)
    assert large.nbytes > ENOUGH and len(kept(large, BatchRange(1, 1, 1))) == 1
    assert len(kept(large, BatchRange(1, 2, 3))) == 3


def test_answers_too_large_for_a_gate_are_no_bundle(
    small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(pack, "LARGEST", 10_000)
    given = ["--ckpt", str(small_weights), "--backbone", "--out", str(tmp_path), "--via", "stablehlo"]
    assert to_onnx.main([*given, "--image-size", "32", "--batch", "1", "--gate-images", "2"]) == 0
    assert "notice: no bundle: the answers to 2 images are" in capsys.readouterr().err
    made = {path.name for path in tmp_path.iterdir()}
    assert made == {"model.onnx", "report.json", "report.html", "report.png"}


# --- building from it ---------------------------------------------------------------------------------


@pytest.mark.parametrize("answers", OUTPUTS)
def test_every_output_is_compared_again(
    answers: str, folders: dict[str, Path], tmp_path: Path, capsys: Any
) -> None:
    given = ["--onnx", str(folders[answers]), "--runtime", "onnxruntime", "--out", str(tmp_path / "o")]
    assert to_trt.main(given) == 0
    report = _report(tmp_path / "o")
    lines = _lines(report, "model.onnx")
    batches = [1, 2, 3] if answers == "stages" else [2]
    names = [name for name, *_ in OUTPUTS[answers]]
    assert [(line["batch"], line["output"]) for line in lines] == [(b, n) for b in batches for n in names]
    assert {line["reference"] for line in lines} == {DEPLOY_FORM} and report["accepted"]
    assert report["latency"] and (tmp_path / "o" / "report.html").is_file()
    said = capsys.readouterr().out
    assert said.startswith("accepted: resnet50") and "  gate     passed: ONNX Runtime " in said


def _spoilt(file: bytes, kernel: str) -> bytes:
    """The file with one kernel 10 % off."""
    model = onnx.load_model_from_string(file)
    (victim,) = [tensor for tensor in model.graph.initializer if tensor.name == kernel]
    weights = onnx.numpy_helper.to_array(victim) * np.float32(1.1)
    victim.CopyFrom(onnx.numpy_helper.from_array(weights, victim.name))
    return model.SerializeToString()


def _classes_changed(file: bytes) -> bytes:
    """The file with another class for each detection."""
    model = onnx.load_model_from_string(file)
    one = onnx.numpy_helper.from_array(np.array(1, np.int32), "one_more")
    (last,) = [node for node in model.graph.node if "labels" in node.output]
    last.output[list(last.output).index("labels")] = "labels_before"
    for node in model.graph.node:
        node.input[:] = ["labels_before" if name == "labels" else name for name in node.input]
    model.graph.initializer.append(one)
    model.graph.node.append(onnx.helper.make_node("Add", ["labels_before", "one_more"], ["labels"], "more"))
    return model.SerializeToString()


WRONG = [
    ("detections", "box_head.moves.kernel", "boxes of model.engine differ"),
    ("detections", "box_head.logits.kernel", "scores of model.engine differ"),
    ("detections", "mask_head.logits.kernel", "masks of model.engine differ"),
    ("detections", "", "% of the detections of model.engine or of JAX"),
    ("map", "head.classify.conv.kernel", "logits of model.engine differ"),
    ("stages", "stage2.block1.conv2.kernel", "stage2 of model.engine differ"),
]


@pytest.mark.parametrize(("answers", "kernel", "message"), WRONG)
def test_an_engine_that_answers_wrongly_is_rejected(
    answers: str,
    kernel: str,
    message: str,
    folders: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    file = (folders[answers] / "model.onnx").read_bytes()
    play(monkeypatch, _spoilt(file, kernel) if kernel else _classes_changed(file))
    given = ["--onnx", str(folders[answers]), "--out", str(tmp_path / "o")]
    assert to_trt.main(given) == 1
    assert message in capsys.readouterr().out
    report = _report(tmp_path / "o" / "rejected")
    assert all(line["passed"] for line in _lines(report, "model.onnx")), "the file itself is right"
    assert not report["accepted"] and report["engine"]["status"].startswith("ran")


@pytest.mark.parametrize("answers", OUTPUTS)
def test_an_engine_that_is_right_is_held_to_its_own_limits(
    answers: str, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(monkeypatch, (folders[answers] / "model.onnx").read_bytes())
    assert to_trt.main(["--onnx", str(folders[answers]), "--out", str(tmp_path / "o")]) == 0
    limits = {line["output"]: line["limit"] for line in _lines(_report(tmp_path / "o"), "model.engine")}
    assert limits == read_bundle(folders[answers]).gate.tolerances["engine"]
    served = (tmp_path / "o" / "config.pbtxt").read_text()
    assert 'platform: "tensorrt_plan"' in served and served.count("output [") == len(OUTPUTS[answers])


def test_an_engine_of_another_form_is_an_error(
    exported_detector: Path,
    exported_segmenter: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    play(monkeypatch, (exported_segmenter / "model.onnx").read_bytes())
    assert to_trt.main(["--onnx", str(exported_detector), "--out", str(tmp_path / "o")]) == 1
    said = capsys.readouterr().out
    assert "model.engine does not answer as the bundle says: the candidate has no output boxes" in said


@needs_rtx
def test_numpy_and_tensorrt_are_enough_for_part_of_the_batches(
    exported_backbone: Path, tmp_path: Path, repository: Path
) -> None:
    out = tmp_path / "o"
    given = ["--onnx", str(exported_backbone), "--runtime", "tensorrt_rtx", "--out", str(out)]
    answer, _ = walk(repository, *given, "--batch", "2:2:3")
    assert answer.returncode == 0 and answer.stderr == "", answer.stderr
    assert answer.stdout.startswith("accepted: resnet50, fp32, batch 2:2:3")
    assert "onnxruntime is not installed" in answer.stdout
    assert _report(out)["model"]["batch"] == {"minimum": 2, "typical": 2, "maximum": 3}
    assert (out / "model.engine").stat().st_size > 10_000


def test_detections_are_compared_without_jax(
    exported_detector: Path, tmp_path: Path, repository: Path
) -> None:
    given = ["--onnx", str(exported_detector), "--runtime", "onnxruntime", "--out", str(tmp_path / "o")]
    answer, files = walk(repository, *given, allowed="onnxruntime")
    assert answer.returncode == 0 and answer.stderr == "", answer.stderr
    assert {"detections", "compare", "unpack"} <= {file.stem for file in files}
    assert [line["output"] for line in _lines(_report(tmp_path / "o"), "model.onnx")] == DETECTIONS


def test_tf32_is_judged_by_every_stage(exported_backbone: Path) -> None:
    bundle = read_bundle(exported_backbone)
    lines = gate_tf32(bundle, BatchRange(2, 2, 2))
    assert [line.output for line in lines] == STAGES
    assert {line.limit for line in lines} == {parity.ENGINE_TF32_LIMIT}
    # factors are rounded at 2^-11, a hundred times what float32 loses here
    assert all(parity.FP32_MAP_LIMIT < line.difference.relative < 1e-2 for line in lines)


def test_detectors_with_rounding_are_judged_by_what_they_are_sure_of(exported_detector: Path) -> None:
    bundle = read_bundle(exported_detector)
    assert set(bundle.gate.tolerances["onnx"]) == set(DETECTIONS)
    assert set(bundle.gate.tolerances["engine_tf32"]) == {*DETECTIONS, "sure", "overlap"}
    size = bundle.batch.maximum
    lines = gate_tf32(bundle, BatchRange(size, size, size))
    assert [line.output for line in lines] == DETECTIONS and all(line.passed for line in lines)
    assert {line.limit for line in lines if line.output == "labels"} == {sure.RULES["labels"]}


@pytest.mark.parametrize("trained", [True, False])
def test_a_bundle_says_what_its_gate_cannot_tell(exported_detector: Path, trained: bool) -> None:
    """Rounded with random weights, no detection is compared, and no steps are here."""
    bundle = read_bundle(exported_detector)
    expected = {**bundle.gate.expected, "scores": np.full_like(bundle.gate.expected["scores"], 0.9)}
    limits = tolerances("detections", "fp16", 1.0, expected, trained=trained)
    gate = dataclasses.replace(bundle.gate, expected=expected, tolerances=limits)
    asked: Any = SimpleNamespace(tf32=False, notice=None)
    result = Result(asked, dataclasses.replace(bundle, gate=gate), bundle.batch, asked, [], None, None, asked)
    assert ["from a bundle nothing" in notice for notice in result.notices()] == [True] * (not trained)


def test_tolerances_of_half_precision_hold_their_rules() -> None:
    expected = {name: np.zeros(1) for name in DETECTIONS}
    for limits in tolerances("detections", "bf16", 1.0, expected).values():
        assert limits == {**sure.LIMITS["bf16"], **sure.RULES}


def test_a_segmenter_in_float16(segmenter: Path, tmp_path: Path) -> None:
    out = tmp_path / "half"
    given = ["--ckpt", str(segmenter), "--out", str(out), "--precision", "fp16"]
    assert to_onnx.main([*given, *SMALL]) == 0
    bundle: Bundle = read_bundle(out)
    assert bundle.gate.tolerances["onnx"] == {"logits": parity.FP16_LIMIT}
    assert bundle.gate.expected["logits"].dtype == np.float32
    assert to_trt.main(["--onnx", str(out), "--runtime", "onnxruntime"]) == 0
    assert OnnxSession(bundle.model).run(bundle.gate.inputs[:2])["logits"].dtype == np.float32
