"""What an exported segmenter or detector is worth, by `python -m export.score`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import hvjax
from export import score, to_onnx
from hvjax.preprocessing import normalise
from hvjax.registry import get_spec

SIZE = 64
SMALL = ["--via", "stablehlo", "--image-size", str(SIZE), "--batch", "2", "--gate-images", "4"]


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
