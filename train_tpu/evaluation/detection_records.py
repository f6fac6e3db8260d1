"""What is found in an image beside what is there, in pixels of the image itself; plain enough for JSON."""

from collections.abc import Mapping
from typing import Any, TypedDict

import numpy as np
from jaxtyping import Float

from hvjax.dense.paste import paste_mask
from train_tpu.evaluation.paste_masks import RunLengths, run_lengths


class Instance(TypedDict):
    """label: class, from 0; bbox: x y width height; score: of what is found, 1 of what is there.

    area: of the mask where there is one, else of the box. crowd: a group that is not told apart.
    """

    label: int
    bbox: list[float]
    score: float
    area: float
    crowd: bool
    mask: RunLengths | None


class Record(TypedDict):
    """One image with its instances."""

    height: int
    width: int
    truth: list[Instance]
    found: list[Instance]


def original_size(batch: Mapping[str, Any], row: int) -> tuple[int, int]:
    """(height, width) of an image before it was resized into its batch."""
    height, width = np.asarray(batch["size"][row]) / np.asarray(batch["scale"][row])
    return max(1, round(float(height))), max(1, round(float(width)))


def found_in(
    answers: Mapping[str, Any], row: int, scale: Float[np.ndarray, "2"], height: int, width: int, masks: bool
) -> list[Instance]:
    """What a detector answers to one image of a batch, in the order of its answers.

    Args:
      answers: "boxes", "scores", "labels" (-1: none) and, if `masks`, "masks" of hvjax's detectors.
      scale: of y and x: pixels of the batch per pixel of the image.
      height, width: of the image; boxes are cut off there, masks are pasted there. Boxes of which nothing is
        left, found in the padding of the canvas, are dropped.
    Raises:
      ValueError: a box or score is not finite.
    """
    kept = np.flatnonzero(np.asarray(answers["labels"][row]) >= 0)
    boxes = np.asarray(answers["boxes"][row], np.float64)[kept] / np.tile(scale[::-1], 2)
    scores = np.asarray(answers["scores"][row], np.float64)[kept]
    labels = np.asarray(answers["labels"][row])[kept]
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise ValueError("a detector answers with boxes or scores that are not finite")
    grids = np.asarray(answers["masks"][row])[kept] if masks else None
    instances = []
    for i, box in enumerate(np.clip(boxes, 0, [width, height] * 2)):
        if not (box[2:] > box[:2]).all():
            continue
        # pasted into the box as it was predicted: the grid covers what is beyond the image too
        mask = None if grids is None else paste_mask(grids[i], boxes[i], height, width)
        instances.append(_instance(labels[i], box, scores[i], False, mask))
    return instances


def there_in_batch(batch: Mapping[str, Any], row: int, height: int, width: int) -> list[Instance]:
    """What is in one image by its batch: masks come back from their grids, coarser than they were drawn."""
    labels, grids = np.asarray(batch["labels"][row]), np.asarray(batch["masks"][row])
    scale = np.asarray(batch["scale"][row], np.float64)
    boxes = np.asarray(batch["boxes"][row], np.float64) / np.tile(scale[::-1], 2)
    crowd = np.asarray(batch["crowd"][row])
    return [
        _instance(labels[i], boxes[i], 1.0, crowd[i], paste_mask(grids[i], boxes[i], height, width))
        for i in np.flatnonzero(labels >= 0)
    ]


def there_in_example(example: Mapping[str, Any], height: int, width: int) -> list[Instance]:
    """What is in an image by its source (`data.dense_examples.DenseExample`), as it was drawn."""
    instances = []
    areas = example.get("area")
    for i, label in enumerate(example["labels"]):
        mask = example["masks"][i].bitmap(height, width) if len(example["masks"]) else None
        instance = _instance(label, example["boxes"][i], 1.0, example["crowd"][i], mask)
        if areas is not None:
            instance["area"] = float(areas[i])
        instances.append(instance)
    return instances


def _instance(label: Any, box: Any, score: float, crowd: Any, mask: Any) -> Instance:
    x1, y1, x2, y2 = (float(value) for value in box)
    return {
        "label": int(label),
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "score": float(score),
        "area": (x2 - x1) * (y2 - y1) if mask is None else float(np.count_nonzero(mask)),
        "crowd": bool(crowd),
        "mask": None if mask is None else run_lengths(mask),
    }
