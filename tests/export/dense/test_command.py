"""Segmenters, detectors and bare backbones through the export commands."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import onnx
import pytest

import hvjax
from export import graph, parity, to_onnx, to_trt
from export._optional import available
from export.answers import Reference
from export.at_size import at_size
from export.batch import BatchRange
from export.detections import ENGINE_LIMITS, LIMITS
from export.gate import gate_engine
from export.gate_images import photographs
from export.kind import kind_of
from export.load import load_source
from export.parity import Comparison
from export.runtimes.onnxruntime import OnnxSession

SIZE = 64
SMALL = ["--via", "stablehlo", "--image-size", str(SIZE), "--batch", "2", "--gate-images", "4"]
#: Classes of the drawn scenes but the background.
THINGS = 8
STAGES = ["stage1", "stage2", "stage3", "stage4"]
needs_rtx = pytest.mark.skipif(
    not available("tensorrt_rtx_bindings"), reason="TensorRT for RTX is not installed: hvjax[tensorrt-rtx]"
)


def _session(folder: Path) -> OnnxSession:
    return OnnxSession((folder / "model.onnx").read_bytes())


def _report(folder: Path) -> Any:
    return json.loads((folder / "report.json").read_text())


def _compared(report: Any) -> list[str]:
    """Outputs of the file that were compared with the training form, in order."""
    lines = report["gate"]["comparisons"]
    return [
        line["output"]
        for line in lines
        if line["candidate"] == "model.onnx" and "training" in line["reference"]
    ]


def test_a_segmenter_answers_every_pixel(exported_segmenter: Path) -> None:
    report = _report(exported_segmenter)
    assert report["accepted"] and report["model"]["name"] == "resnet50+semantic_fpn"
    assert _compared(report) == ["logits"]
    assert [stage["stage"] for stage in report["gate"]["stages"]] == ["stem", *STAGES, "logits"]
    assert all(stage["present"] for stage in report["gate"]["stages"])
    answer = _session(exported_segmenter).run(np.zeros((2, 3, SIZE, SIZE), np.float32))
    assert answer["logits"].shape == (2, THINGS + 1, SIZE, SIZE)


def test_a_segmenter_in_float16_with_its_order_of_dimensions(segmenter: Path, tmp_path: Path) -> None:
    given = ["--ckpt", str(segmenter), "--out", str(tmp_path), "--precision", "fp16", *SMALL]
    assert to_onnx.main([*given, "--input-layout", "nhwc", "--batch", "1:2:3"]) == 0
    answer = _session(tmp_path).run(np.zeros((1, SIZE, SIZE, 3), np.float32))
    assert answer["logits"].shape == (1, SIZE, SIZE, THINGS + 1)
    assert "FLOAT16" in _report(tmp_path)["graph"]["parameter_types"]


def _rows(folder: Path) -> list[tuple[str, ...]]:
    """Of the table of the gate in report.html."""
    page = (folder / "report.html").read_text()
    rows = re.findall(r"<tr>(.*?)</tr>", page[page.index("Parity gate") :])
    return [tuple(re.findall(r"<td[^>]*>(.*?)</td>", row)) for row in rows]


def test_a_detector_is_a_static_graph(exported_detector: Path) -> None:
    report = _report(exported_detector)
    assert report["accepted"] and not report["notices"], "it detects something on every image"
    assert _compared(report) == ["boxes", "scores", "labels", "masks"]
    model = onnx.load(exported_detector / "model.onnx")
    kinds = {node.op_type for node in model.graph.node}
    assert not kinds & {"Loop", "If", "NonZero", "NonMaxSuppression"}
    answer = _session(exported_detector).run(np.zeros((2, 3, SIZE, SIZE), np.float32))
    shapes = {name: value.shape for name, value in answer.items()}
    assert shapes == {"boxes": (2, 12, 4), "scores": (2, 12), "labels": (2, 12), "masks": (2, 12, 28, 28)}
    assert answer["labels"].dtype == np.int32
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert said["answers"] == "detections" and said.keys() >= {*shapes, "padding"} and "crop_pct" not in said
    (row,) = [
        row for row in _rows(exported_detector) if row[:2] == ("model.onnx", "labels") and "deploy" in row[2]
    ]
    assert row[5:9] == ("0 lost", "0.0 %", "2 %", "")


def test_a_detector_through_tensorflow_for_any_batch_of_pictures(detector: Path, tmp_path: Path) -> None:
    """What the command does unless told otherwise, with an open batch and its own normalisation."""
    given = ["--ckpt", str(detector), "--out", str(tmp_path), "--image-size", str(SIZE), "--gate-images", "3"]
    assert to_onnx.main([*given, "--batch", "1:2:3", "--preprocess", "normalise"]) == 0
    report = _report(tmp_path)
    assert report["model"]["via"] == "jax2tf" and report["model"]["input_dtype"] == "uint8"
    lines = report["gate"]["comparisons"]
    assert {line["batch"] for line in lines if line["candidate"] == "model.onnx"} == {1, 2, 3}
    session = _session(tmp_path)
    for batch in (1, 3):
        answer = session.run(np.zeros((batch, SIZE, SIZE, 3), np.uint8))
        assert answer["boxes"].shape == (batch, 12, 4) and answer["masks"].shape == (batch, 12, 28, 28)


def _spoilt(file: bytes, kernel: str) -> bytes:
    """The file with one kernel 10 % off."""
    model = onnx.load_model_from_string(file)
    (victim,) = [tensor for tensor in model.graph.initializer if tensor.name == kernel]
    weights = onnx.numpy_helper.to_array(victim) * np.float32(1.1)
    victim.CopyFrom(onnx.numpy_helper.from_array(weights, victim.name))
    return model.SerializeToString()


def test_a_detector_with_a_wrong_weight_is_rejected(
    detector: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    convert = graph.to_onnx_bytes
    monkeypatch.setattr(
        graph, "to_onnx_bytes", lambda *given: _spoilt(convert(*given), "mask_head.conv1.kernel")
    )
    assert to_onnx.main(["--ckpt", str(detector), "--out", str(tmp_path / "out"), *SMALL]) == 1
    said = capsys.readouterr().out
    assert (
        "masks of model.onnx differ from JAX" in said
        and "of the largest value of masks (limit 1e-02)" in said
    )
    assert "the backbone is right, the error is in the heads" in said
    assert not (tmp_path / "out" / "rejected" / "manifest.json").exists(), "it is no bundle"
    gate = _report(tmp_path / "out" / "rejected")["gate"]
    assert gate["limit"] == LIMITS["scores"] and gate["stage_limit"] == parity.FP32_MAP_LIMIT
    assert gate["begins_at"] is None and gate["behind"] == "the heads"
    page = (tmp_path / "out" / "rejected" / "report.html").read_text()
    assert "limit for each stage; the heads come after these" in page and "<td>masks</td>" in page


@pytest.mark.parametrize("task", ["segmenter", "detector"])
@pytest.mark.parametrize("flags", [[], ["--precision", "fp16"]])
def test_a_model_that_answers_no_numbers_is_not_exported(
    task: str, flags: list[str], request: pytest.FixtureRequest, tmp_path: Path, capsys: Any
) -> None:
    """Its weights are numbers, and overflow in the first stage. A detector would find nothing, everywhere."""
    source: Path = request.getfixturevalue(task)
    model, variables = hvjax.load_weights(source)
    huge = jax.tree.map(np.array, variables)
    huge["params"]["backbone"]["stage1"]["block1"]["conv1"]["kernel"][...] = 1e38
    hvjax.save_weights(tmp_path / "small.safetensors", huge, model)
    shutil.copy(source.with_name("model.json"), tmp_path)
    given = ["--ckpt", str(tmp_path / "small.safetensors"), "--out", str(tmp_path / "out"), *flags]
    assert to_onnx.main([*given, *SMALL]) == 1
    shown = capsys.readouterr().err
    assert "answers NaN or infinity on these images" in shown and "Traceback" not in shown
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("given", ["classifier", "segmenter"])
def test_a_backbone_alone_gives_its_four_stages(
    given: str, small_weights: Path, segmenter: Path, tmp_path: Path
) -> None:
    ckpt = small_weights if given == "classifier" else segmenter
    assert to_onnx.main(["--ckpt", str(ckpt), "--backbone", "--out", str(tmp_path), *SMALL]) == 0
    report = _report(tmp_path)
    assert _compared(report) == STAGES
    answer = _session(tmp_path).run(np.zeros((2, 3, SIZE, SIZE), np.float32))
    sides = {name: value.shape[2:] for name, value in answer.items()}
    assert sides == {f"stage{i + 1}": (SIZE // 4 // 2**i,) * 2 for i in range(4)}
    names = [tensor.name for tensor in onnx.load(tmp_path / "model.onnx").graph.initializer]
    assert names and not [name for name in names if "head" in name or "fpn" in name]


def test_a_backbone_in_float16(small_weights: Path, tmp_path: Path) -> None:
    given = ["--ckpt", str(small_weights), "--backbone", "--precision", "fp16", "--out", str(tmp_path)]
    assert to_onnx.main([*given, *SMALL]) == 0
    assert set(_compared_with(_report(tmp_path), "emulated")) == set(STAGES)


def _compared_with(report: Any, candidate: str) -> list[str]:
    return [line["output"] for line in report["gate"]["comparisons"] if candidate in line["candidate"]]


def _gated(session: OnnxSession, wanted: dict[str, np.ndarray]) -> list[Comparison]:
    """What the gate of an engine says of a file in its place; no test here can run an engine."""
    reference = Reference({"JAX": wanted["scores"]}, {}, {}, {"JAX": wanted}, least_score=0.05)
    return gate_engine(
        session,
        _photographs(),
        reference,
        output="scores",
        precision="fp32",
        tf32=False,
        batch=BatchRange(2, 2, 2),
    )


def _photographs() -> np.ndarray:
    images = photographs((SIZE, SIZE), 3, 2).normalised((0.485,) * 3, (0.225,) * 3)
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def test_every_output_of_an_engine_is_gated(exported_detector: Path) -> None:
    session = _session(exported_detector)
    wanted = session.run(_photographs())
    lines = _gated(session, wanted)
    assert (wanted["labels"] >= 0).any() and all(line.passed for line in lines)
    assert [line.output for line in lines] == ["boxes", "scores", "labels", "masks"]
    assert {line.output: line.limit for line in lines if line.output != "labels"} == ENGINE_LIMITS
    others = {**wanted, "labels": (wanted["labels"] + 1) % THINGS}
    assert "labels" in [line.output for line in _gated(session, others) if not line.passed]


@pytest.mark.parametrize(
    ("kernel", "output"),
    [
        ("box_head.moves.kernel", "boxes"),
        ("box_head.logits.kernel", "scores"),
        ("mask_head.logits.kernel", "masks"),
    ],
)
def test_an_engine_with_a_wrong_kernel_is_rejected(exported_detector: Path, kernel: str, output: str) -> None:
    """The last kernel of a head 10 % off, which is what the limits of engines stay below."""
    wanted = _session(exported_detector).run(_photographs())
    spoilt = OnnxSession(_spoilt((exported_detector / "model.onnx").read_bytes(), kernel))
    assert [line.output for line in _gated(spoilt, wanted) if not line.passed] == [output]


def test_the_least_score_is_that_of_the_model() -> None:
    """Detections that rounding may drop are those near to it."""
    model = hvjax.create_model("resnet50+mask_rcnn", least_score=0.2)
    assert kind_of(model).least_score == 0.2 and kind_of(model, backbone=True).least_score == 0.0


@needs_rtx
def test_tf32_is_judged_by_every_stage(small_weights: Path, tmp_path: Path) -> None:
    flags = ["--ckpt", str(small_weights), "--backbone", "--runtime", "tensorrt_rtx", "--tf32", *SMALL]
    assert to_trt.main([*flags, "--out", str(tmp_path)]) == 0
    assert set(_compared_with(_report(tmp_path), "TF32")) == set(STAGES)


@needs_rtx
@pytest.mark.parametrize("given", ["segmenter", "detector"])
def test_tensorrt_builds_them(given: str, segmenter: Path, detector: Path, tmp_path: Path) -> None:
    ckpt = segmenter if given == "segmenter" else detector
    flags = ["--ckpt", str(ckpt), "--runtime", "tensorrt_rtx", "--out", str(tmp_path), *SMALL]
    assert to_trt.main([*flags, "--batch", "1:2:3"]) == 0
    assert (tmp_path / "model.engine").stat().st_size > 10_000


MISTAKES = [
    ("segmenter", ["--precision", "int8"], "int8 is for classifiers"),
    ("segmenter", ["--postprocess", "softmax"], "--postprocess softmax is for classifiers"),
    ("segmenter", ["--preprocess", "full", "--source-size", "96x96"], "--preprocess full resizes and crops"),
    ("detector", ["--precision", "int8"], "int8 is for classifiers"),
    ("detector", ["--postprocess", "topk:3"], "--postprocess topk is for classifiers"),
]


@pytest.mark.parametrize(("given", "flags", "message"), MISTAKES)
def test_what_is_for_classifiers_only(
    given: str, flags: list[str], message: str, request: Any, tmp_path: Path, capsys: Any
) -> None:
    ckpt = request.getfixturevalue(given)
    assert to_onnx.main(["--ckpt", str(ckpt), "--out", str(tmp_path / "out"), *SMALL, *flags]) == 2
    shown = capsys.readouterr().err
    assert message in shown and shown.count("\n") == 1 and not (tmp_path / "out").exists()


def test_tables_of_positions_are_made_for_the_size_that_is_asked_for() -> None:
    source = load_source("pvt_small+semantic_fpn")
    assert source.image_size == (512, 512)
    made = at_size(source, (64, 96))
    assert (
        made.model.config.image_size == made.model.config.backbone.image_size == made.image_size == (64, 96)
    )


def test_names_of_dense_models() -> None:
    source = load_source("resnet50+upernet")
    assert source.random and source.name == "resnet50+upernet" and source.image_size == (512, 512)
    assert kind_of(source.model).name == "map" and kind_of(source.model, backbone=True).name == "stages"
    assert kind_of(load_source("next_vit_s+mask_rcnn").model).name == "detections"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("resnet50+semantic_fnp", "did you mean semantic_fpn"),
        ("resnet5+upernet", "resnet50"),
        ("resnet50+", "resnet50"),
    ],
)
def test_misspelt_names_of_dense_models(given: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        load_source(given)
    assert str(caught.value).startswith(f"--ckpt {given}: ")
