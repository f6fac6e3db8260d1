"""preprocess.json of segmenters, detectors and backbones, followed with Pillow and NumPy alone."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from export.bundle.canvas import describe_canvas, fill
from hvjax import preprocessing
from train_tpu.config import base_config
from train_tpu.data.dense_examples import no_instances
from train_tpu.data.dense_pipeline import eval_batches
from train_tpu.data.quarantine import CorruptImages
from train_tpu.evaluation.detection_records import found_in

#: Scales are float32 in a batch.
PIXEL = 1e-3


def shown(rules: dict[str, Any], height: int, width: int) -> tuple[int, int]:
    """(height, width) of an image on the canvas."""
    resize, (tall, wide) = rules["resize"], rules["canvas"]["size"]
    scale = min(
        resize["shorter"] / min(height, width),
        resize["longer"] / max(height, width),
        tall / height,
        wide / width,
    )
    found = [max(1, math.floor(side * scale + 0.5)) for side in (height, width)]
    return found[0], found[1]


def neighbours(there: int, wanted: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The two pixels of a line of `there` that each of `wanted` is made of, with their weights."""
    places = np.float32((np.arange(wanted) + 0.5) * (there / wanted) - 0.5)
    first = np.floor(places).astype(int)
    share = places - np.float32(first)
    weights = [np.rint(2048 * part).astype(int) for part in (np.float32(1) - share, share)]
    return [(np.clip(first + step, 0, there - 1), weight) for step, weight in enumerate(weights)]


def follow(rules: dict[str, Any], path: Path) -> np.ndarray:
    """An image as preprocess.json says; pixels (height, width, 3) on the canvas."""
    image = np.asarray(Image.open(path).convert("RGB")).astype(int)
    height, width = shown(rules, *image.shape[:2])
    (a, u), (b, v) = neighbours(image.shape[1], width)
    lines = image[:, a] * u[:, None] + image[:, b] * v[:, None]
    (a, u), (b, v) = neighbours(image.shape[0], height)
    upper, lower = ((lines[at] >> 4) * weight[:, None, None] >> 16 for at, weight in ((a, u), (b, v)))
    canvas = np.empty((*rules["canvas"]["size"], 3), np.uint8)
    canvas[:] = rules["canvas"]["fill"]
    canvas[:height, :width] = (upper + lower + 2) >> 2
    return canvas


def fed(rules: dict[str, Any], pixels: np.ndarray) -> np.ndarray:
    values = (pixels.astype(np.float32) / np.float32(255) - np.float32(rules["mean"])) / np.float32(
        rules["std"]
    )
    values = values.transpose(2, 0, 1) if rules["input"]["layout"] == "nchw" else values
    return values.astype(rules["input"]["dtype"])[None]


def evaluated(path: Path, rules: dict[str, Any], task: str) -> dict[str, np.ndarray]:
    """What training's evaluation makes of the file."""
    height, width = np.asarray(Image.open(path)).shape[:2]
    example = {"image": path.read_bytes(), "name": path.name, "index": 0, **no_instances()}
    example["semantic"] = np.zeros((height, width), np.uint8) if task == "segmentation" else None
    data = base_config().data
    data.eval_canvas = tuple(rules["canvas"]["size"])
    data.eval_resize = (rules["resize"]["shorter"], rules["resize"]["longer"])
    data.threads = 1
    source: Any = [example]
    batches = eval_batches(
        source, data, task, batch_size=1, corrupt=CorruptImages(1, 0.0), mean=rules["mean"]
    )
    return next(iter(batches))


def picture(path: Path, height: int, width: int) -> Path:
    """Smooth and noisy parts, as PNG: every reader has the same pixels."""
    rng = np.random.default_rng(height)
    pixels = rng.integers(0, 255, (height, width, 3), np.uint8)
    pixels[: height // 2] = np.linspace(0, 255, width)[None, :, None].astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    path.write_bytes(buffer.getvalue())
    return path


def rules_of(size: tuple[int, int], sides: tuple[int, int] | None, layout: str = "nchw") -> dict[str, Any]:
    model = {
        **{"answers": "map", "image_size": list(size), "input_layout": layout, "input_shape": []},
        **{"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
    }
    return describe_canvas(model, sides=sides, name="images", dtype="float32", channels=3)


def stretched(grid: np.ndarray, box: np.ndarray, height: int, width: int) -> np.ndarray:
    """A mask as preprocess.json says: (height, width), on or off."""
    x1, y1, x2, y2 = box
    padded, places = np.pad(grid, 1), np.arange(-1, len(grid) + 1) + 0.5
    down = (np.arange(height) + 0.5 - y1) / (y2 - y1) * len(grid)
    across = (np.arange(width) + 0.5 - x1) / (x2 - x1) * len(grid)
    lines = np.stack([np.interp(down, places, column, 0, 0) for column in padded.T], 1)
    return np.stack([np.interp(across, places, line, 0, 0) for line in lines]) >= 0.5


@pytest.mark.parametrize("size", [(57, 91), (20, 30), (120, 40), (48, 48), (96, 112)])
@pytest.mark.parametrize(
    ("canvas", "sides", "layout"), [((64, 64), (48, 56), "nchw"), ((64, 96), None, "nhwc")]
)
def test_whoever_follows_preprocess_json_has_the_same_input(
    canvas: tuple[int, int],
    sides: tuple[int, int] | None,
    layout: str,
    size: tuple[int, int],
    tmp_path: Path,
) -> None:
    rules, path = rules_of(canvas, sides, layout), picture(tmp_path / "p.png", *size)
    wanted, found = evaluated(path, rules, "segmentation")["image"][0], follow(rules, path)
    np.testing.assert_array_equal(found, wanted)
    assert rules["resize"]["as_trained"] == (sides is not None)
    normalised = preprocessing.normalise(wanted[None], rules["mean"], rules["std"])
    normalised = normalised.transpose(0, 3, 1, 2) if layout == "nchw" else normalised
    np.testing.assert_array_equal(fed(rules, wanted), normalised)


def test_a_file_says_what_describe_says(exported_segmenter: Path, exported_detector: Path) -> None:
    said = json.loads((exported_segmenter / "preprocess.json").read_text())
    wanted = rules_of((64, 64), (48, 56))
    assert said["input"] == {"name": "images", "dtype": "float32", "layout": "nchw", "shape": [2, 3, 64, 64]}
    assert {**said, "input": 0} == {**wanted, "input": 0}
    other = json.loads((exported_detector / "preprocess.json").read_text())
    assert list(other["outputs"]) == ["boxes", "scores", "labels", "masks", "image"]
    assert {**other, "answers": 0, "outputs": 0} == {**said, "answers": 0, "outputs": 0}


def test_a_file_that_normalises_leaves_that_out() -> None:
    model = {**{"answers": "map", "image_size": [64, 64], "input_layout": "nhwc", "input_shape": []}}
    model |= {"mean": [0.5] * 3, "std": [0.25] * 3, "preprocess": "normalise"}
    rules = describe_canvas(model, sides=None, name="images", dtype="uint8", channels=3)
    assert rules["in_graph"] == ["normalise"]
    assert [step.split(":")[0] for step in rules["steps"]] == ["read", "resize", "place", "arrange"]


def test_the_colour_of_padding_is_the_mean() -> None:
    assert fill((0.485, 0.456, 0.406), 3) == [124, 116, 104] and fill((0.5,), 1) == [128]


def test_boxes_go_back_onto_the_image_as_evaluation_puts_them(tmp_path: Path) -> None:
    rules, path = rules_of((64, 64), (48, 56)), picture(tmp_path / "p.png", 57, 91)
    batch = evaluated(path, rules, "detection")
    height, width = shown(rules, 57, 91)
    assert tuple(batch["size"][0]) == (height, width)
    boxes = np.array([[4, 4, 20, 16], [30, 20, 60, 40], [58, 40, 62, 60]], np.float32)
    grids = np.random.default_rng(0).uniform(0, 1, (3, 28, 28)).astype(np.float32)
    answers = {
        **{"boxes": boxes[None], "scores": np.full((1, 3), 0.9), "labels": np.zeros((1, 3), int)},
        "masks": grids[None],
    }
    scale = np.asarray(batch["scale"][0], np.float64)
    wanted = found_in(answers, 0, scale, 57, 91, True)
    across, down = width / 91, height / 57  # as `outputs` says
    back = boxes / np.array([across, down, across, down])
    cut = np.clip(back, 0, [91, 57, 91, 57])
    kept = [index for index in range(3) if (cut[index, 2:] > cut[index, :2]).all()]
    assert kept == [0, 1], "the last lies in the padding"
    assert len(wanted) == len(kept)
    for index, instance in zip(kept, wanted, strict=True):
        x1, y1, x2, y2 = cut[index]
        np.testing.assert_allclose(instance["bbox"], [x1, y1, x2 - x1, y2 - y1], atol=PIXEL)
        assert abs(stretched(grids[index], back[index], 57, 91).sum() - instance["area"]) <= 1
