"""Segmenters, detectors and bare backbones through the export commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from export import graph, to_onnx, to_trt
from export._optional import available
from export.answers import Reference
from export.at_size import at_size
from export.batch import BatchRange
from export.detections import ENGINE_SLACK, LIMITS
from export.gate import gate_engine
from export.gate_images import photographs
from export.kind import kind_of
from export.load import load_source
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
    # a bundle is about files with one answer an image
    assert {path.name for path in exported_segmenter.iterdir()} == {
        *("model.onnx", "report.json", "report.html", "report.png")
    }


def test_a_segmenter_in_float16_with_its_order_of_dimensions(segmenter: Path, tmp_path: Path) -> None:
    given = ["--ckpt", str(segmenter), "--out", str(tmp_path), "--precision", "fp16", *SMALL]
    assert to_onnx.main([*given, "--input-layout", "nhwc", "--batch", "1:2:3"]) == 0
    answer = _session(tmp_path).run(np.zeros((1, SIZE, SIZE, 3), np.float32))
    assert answer["logits"].shape == (1, SIZE, SIZE, THINGS + 1)
    assert "FLOAT16" in _report(tmp_path)["graph"]["parameter_types"]


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


def test_a_detector_with_a_wrong_weight_is_rejected(
    detector: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    convert = graph.to_onnx_bytes

    def spoilt(*arguments: Any) -> bytes:
        model = onnx.load_model_from_string(convert(*arguments))
        victim = next(t for t in model.graph.initializer if "mask_head.conv1" in t.name and len(t.dims) == 4)
        weights = onnx.numpy_helper.to_array(victim) * np.float32(1.1)
        victim.CopyFrom(onnx.numpy_helper.from_array(weights, victim.name))
        return model.SerializeToString()

    monkeypatch.setattr(graph, "to_onnx_bytes", spoilt)
    assert to_onnx.main(["--ckpt", str(detector), "--out", str(tmp_path / "out"), *SMALL]) == 1
    assert "masks of model.onnx differ from JAX" in capsys.readouterr().out


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


def test_every_output_of_an_engine_is_gated(exported_detector: Path) -> None:
    """By the file itself in the place of an engine, which no test here can run."""
    session = _session(exported_detector)
    images = photographs((SIZE, SIZE), 3, 2).normalised((0.485,) * 3, (0.225,) * 3).transpose(0, 3, 1, 2)
    outputs = session.run(images)

    def gated(**changed: np.ndarray) -> list[str]:
        others = {"JAX": {**outputs, **changed}}
        lines = gate_engine(
            session,
            images,
            Reference({"JAX": outputs["scores"]}, {}, {}, others),
            output="scores",
            precision="fp32",
            tf32=False,
            batch=BatchRange(2, 2, 2),
        )
        assert [line.output for line in lines] == ["boxes", "scores", "labels", "masks"]
        assert lines[0].limit == pytest.approx(ENGINE_SLACK * LIMITS["boxes"])
        return [line.output for line in lines if not line.passed]

    assert (outputs["labels"] >= 0).any() and gated() == []
    assert gated(masks=outputs["masks"] + np.float32(0.2)) == ["masks"]
    assert "labels" in gated(labels=(outputs["labels"] + 1) % THINGS)


@needs_rtx
@pytest.mark.parametrize("given", ["segmenter", "detector"])
def test_tensorrt_builds_them(given: str, segmenter: Path, detector: Path, tmp_path: Path) -> None:
    ckpt = segmenter if given == "segmenter" else detector
    flags = ["--ckpt", str(ckpt), "--runtime", "tensorrt_rtx", "--out", str(tmp_path), *SMALL]
    assert to_trt.main(flags) == 0
    assert (tmp_path / "model.engine").stat().st_size > 10_000


MISTAKES = [
    ("segmenter", ["--precision", "int8"], "int8 is for classifiers"),
    ("segmenter", ["--postprocess", "softmax"], "--postprocess softmax is for classifiers"),
    ("segmenter", ["--preprocess", "full", "--source-size", "96x96"], "--preprocess full resizes and crops"),
    ("detector", ["--precision", "fp16"], "--precision fp16: a detector is exported in fp32 only"),
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
