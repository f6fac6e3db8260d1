"""Segmenters, detectors and bare backbones through the export commands, and what the files are worth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import onnx
import pytest

import hvjax
from export import graph, score, to_onnx, to_trt
from export._optional import available
from export.gate_images import photographs
from export.kind import kind_of
from export.load import load_source
from export.random_weights import random_variables
from export.runtimes.onnxruntime import OnnxSession
from hvjax.registry import get_spec

SIZE = 64
SMALL = ["--via", "stablehlo", "--image-size", str(SIZE), "--batch", "2", "--gate-images", "4"]
BACKBONE = {"depths": (1, 1, 1, 1), "widths": (8, 8, 16, 16), "stem_channels": 8}
DETECTOR = {
    "channels": 16,
    "hidden": 32,
    "mask_convs": 1,
    "candidates": 40,
    "proposals": 50,
    "detection_candidates": 60,
    "detections": 12,
}
#: Classes of the drawn scenes: eight shapes, and the background of the semantic map.
THINGS = 8
STAGES = ["stage1", "stage2", "stage3", "stage4"]
needs_rtx = pytest.mark.skipif(
    not available("tensorrt_rtx_bindings"), reason="TensorRT for RTX is not installed: hvjax[tensorrt-rtx]"
)


def _weights(folder: Path, name: str, **numbers: Any) -> Path:
    model = hvjax.create_model(name, backbone=BACKBONE, **numbers)
    spec = get_spec(name)
    images = photographs((SIZE, SIZE), 3, 8).normalised(spec.mean, spec.std)
    hvjax.save_weights(folder / "small.safetensors", random_variables(model, images), model)
    return folder / "small.safetensors"


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("segmenter")
    numbers = {"channels": 16, "head_channels": 16, "num_classes": THINGS + 1}
    return _weights(folder, "resnet50+semantic_fpn", **numbers)


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("detector")
    return _weights(folder, "resnet50+mask_rcnn", num_classes=THINGS, **DETECTOR)


@pytest.fixture(scope="module")
def exported_segmenter(segmenter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "segmenter"
    assert to_onnx.main(["--ckpt", str(segmenter), "--out", str(out), *SMALL]) == 0
    return out


@pytest.fixture(scope="module")
def exported_detector(detector: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "detector"
    assert to_onnx.main(["--ckpt", str(detector), "--out", str(out), *SMALL]) == 0
    return out


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


# --- scores of the file -------------------------------------------------------------------------------


def test_the_scores_of_a_segmenters_file_are_those_of_the_model(
    exported_segmenter: Path, segmenter: Path, tmp_path: Path, capsys: Any
) -> None:
    pytest.importorskip("pycocotools")
    found = _scored(exported_segmenter, tmp_path)
    assert "mean" in capsys.readouterr().out
    batches, meter = _expected("segmentation", 6)
    model, variables = hvjax.load_weights(segmenter)
    run = jax.jit(lambda images: model.apply(variables, images))
    for batch in batches:
        meter.add({"logits": run(_normal(batch["image"]))}, batch)
    assert found["count"] == 6
    for name in ("miou", "macc", "aacc"):
        assert found[name] == pytest.approx(meter.value[name], abs=1e-4)


def test_the_scores_of_a_detectors_file_are_those_of_the_model(
    exported_detector: Path, detector: Path, tmp_path: Path, capsys: Any
) -> None:
    pytest.importorskip("pycocotools")
    found = _scored(exported_detector, tmp_path)
    assert "box" in capsys.readouterr().out
    batches, meter = _expected("detection", 6)
    model, variables = hvjax.load_weights(detector)
    run = jax.jit(lambda images, sizes: model.apply(variables, images, sizes))
    for batch in batches:
        meter.add(run(_normal(batch["image"]), batch["size"]), batch)
    for name in ("box_ap", "mask_ap", "box_ar100"):
        assert found[name] == pytest.approx(meter.value[name], abs=1e-3)


def _scored(folder: Path, tmp_path: Path) -> Any:
    out = tmp_path / "scores.json"
    assert score.main(["--onnx", str(folder), "--images", "6", "--out", str(out)]) == 0
    return json.loads(out.read_text())


def _expected(task: str, images: int) -> Any:
    """The first held-out scenes, and an empty meter for what is answered to them."""
    from train_tpu.config import base_config
    from train_tpu.data.dense_examples import open_dense_dataset
    from train_tpu.data.dense_pipeline import eval_batches
    from train_tpu.data.quarantine import CorruptImages
    from train_tpu.evaluation.detection_scores import DetectionMeter
    from train_tpu.evaluation.segmentation_scores import SegmentationMeter

    data = base_config().data
    data.image_size, data.eval_canvas, data.eval_resize = SIZE, (SIZE, SIZE), (SIZE, SIZE)
    dataset = open_dense_dataset(data, task)
    batches = eval_batches(dataset.held_out, data, task, batch_size=2, corrupt=CorruptImages(images, 0))
    if task == "segmentation":
        meter: Any = SegmentationMeter(dataset.class_names)
    else:
        meter = DetectionMeter(dataset.class_names, dataset.held_out)
    return [next(batches) for _ in range(images // 2)], meter


def _normal(images: np.ndarray) -> np.ndarray:
    from hvjax.preprocessing import normalise

    spec = get_spec("resnet50")
    return normalise(images, spec.mean, spec.std)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--onnx is needed"),
        (["--onnx", "nowhere.onnx"], "no such file"),
        (["--onnx", "{segmenter}", "--data", "nowhere"], "no such directory"),
        (["--onnx", "{segmenter}", "--images", "0"], "not a number above 0"),
        (["--onnx", "{segmenter}", "--sides", "64by64"], "--sides"),
        (["--onnx", "{classifier}"], "is no exported segmenter or detector: it says that it answers classes"),
        (["--onnx", "{text}"], "is not an ONNX model with one input of images"),
    ],
)
def test_mistakes_with_the_scores(
    flags: list[str],
    message: str,
    exported_segmenter: Path,
    small_weights: Path,
    tmp_path: Path,
    capsys: Any,
) -> None:
    text, classifier = tmp_path / "text.onnx", tmp_path / "classifier"
    text.write_text("no model")
    if "{classifier}" in flags:
        assert to_onnx.main(["--ckpt", str(small_weights), "--out", str(classifier), *SMALL]) == 0
        capsys.readouterr()
    places = {"segmenter": exported_segmenter, "classifier": classifier, "text": text}
    assert score.main([flag.format(**places) for flag in flags]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("python -m export.score: error: ") and message in shown and shown.count("\n") == 1
