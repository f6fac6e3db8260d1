"""Small segmenters and detectors with random weights, and their exports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from run_photographs import make_photographs

import hvjax
from export import to_onnx
from export.gate_images import photographs
from export.random_weights import random_variables
from hvjax.registry import get_spec

SIZE = 64
#: Sides that images had at most where the networks were evaluated: they do not fill the canvas.
SIDES = (48, 56)
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


def _weights(folder: Path, name: str, **numbers: Any) -> Path:
    model = hvjax.create_model(name, backbone=BACKBONE, **numbers)
    spec = get_spec(name)
    images = photographs((SIZE, SIZE), 3, 8).normalised(spec.mean, spec.std)
    hvjax.save_weights(folder / "small.safetensors", random_variables(model, images), model)
    run = {"model": name, "num_classes": model.config.num_classes, "image_size": [SIZE, SIZE]}
    (folder / "model.json").write_text(json.dumps({**run, "eval_resize": SIDES}))
    return folder / "small.safetensors"


@pytest.fixture(scope="session")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("segmenter")
    numbers = {"channels": 16, "head_channels": 16, "num_classes": THINGS + 1}
    return _weights(folder, "resnet50+semantic_fpn", **numbers)


@pytest.fixture(scope="session")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("detector")
    return _weights(folder, "resnet50+mask_rcnn", num_classes=THINGS, **DETECTOR)


@pytest.fixture(scope="session")
def exported_segmenter(segmenter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "segmenter"
    assert to_onnx.main(["--ckpt", str(segmenter), "--out", str(out), *SMALL]) == 0
    return out


@pytest.fixture(scope="session")
def exported_detector(detector: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "detector"
    assert to_onnx.main(["--ckpt", str(detector), "--out", str(out), *SMALL]) == 0
    return out


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Three photographs in `tmp_path`."""
    return make_photographs(tmp_path)
