"""Made-up held-out images, with what is in them and what a detector might answer."""

import dataclasses
from typing import Any

import numpy as np

from train_tpu.data.masks import Bitmap

NAMES = ("disc", "ring", "leaf")
GRID, TRUTH_GRID = 28, 112


@dataclasses.dataclass(frozen=True)
class Case:
    """examples: by index; batch, answers: as the pipeline and hvjax's detectors give them; the last row of
    the batch is padding."""

    examples: list[dict[str, Any]]
    batch: dict[str, np.ndarray]
    answers: dict[str, np.ndarray]


def ellipse(box, height: int, width: int) -> np.ndarray:
    """The pixels whose centres lie in the ellipse that fills the box x1 y1 x2 y2."""
    y, x = np.mgrid[:height, :width] + 0.5
    x1, y1, x2, y2 = box
    across, down = (x - (x1 + x2) / 2) / (x2 - x1), (y - (y1 + y2) / 2) / (y2 - y1)
    return across**2 + down**2 <= 0.25


def column_runs(mask: np.ndarray) -> list[int]:
    """Lengths of runs of 0 and 1 in turn, down the columns, the first of 0: COCO's uncompressed RLE."""
    flat = np.concatenate([[False], mask.T.ravel()])
    ends = np.flatnonzero(np.diff(np.concatenate([flat, [not flat[-1]]])))
    return np.diff(np.concatenate([[0], ends])).tolist()


def on_grid(mask: np.ndarray, box, size: int) -> np.ndarray:
    """The mask inside a box of whole pixels, by the nearest pixel."""
    x1, y1, x2, y2 = (int(value) for value in box)
    part = mask[y1:y2, x1:x2]
    rows = ((np.arange(size) + 0.5) * part.shape[0] / size).astype(int)
    columns = ((np.arange(size) + 0.5) * part.shape[1] / size).astype(int)
    return part[rows[:, None], columns]


def made_up(seed: int = 0, images: int = 5, room: int = 8, detections: int = 14) -> Case:
    """Images of 96 to 160 px with up to `room` ellipses, some of them crowds, shrunk to half their height and
    a quarter of their width; four of five objects are found, a little displaced, beside false ones."""
    rng = np.random.default_rng(seed)
    scale = np.array([0.5, 0.25], np.float32)
    rows = images + 1
    batch = {
        "image": rng.integers(0, 256, (rows, 80, 80, 3)).astype(np.uint8),
        "size": np.full((rows, 2), 80, np.int32),
        "scale": np.tile(scale, (rows, 1)),
        "boxes": np.zeros((rows, room, 4), np.float32),
        "labels": np.full((rows, room), -1, np.int32),
        "crowd": np.zeros((rows, room), bool),
        "masks": np.zeros((rows, room, TRUTH_GRID, TRUTH_GRID), np.uint8),
        "index": np.array([*range(images), -1], np.int32),
    }
    answers = {
        "boxes": np.zeros((rows, detections, 4), np.float32),
        "scores": np.zeros((rows, detections), np.float32),
        "labels": np.full((rows, detections), -1, np.int32),
        "masks": np.zeros((rows, detections, GRID, GRID), np.float32),
    }
    examples = []
    for i in range(images):
        height, width = (int(v) for v in 4 * rng.integers(24, 41, 2))
        batch["size"][i] = height // 2, width // 4
        boxes, labels, crowd, masks, found = [], [], [], [], []
        for _ in range(int(rng.integers(2, room + 1))):
            corner = rng.integers(0, [width - 24, height - 24])
            far = np.minimum(corner + rng.integers(12, 70, 2), [width, height])
            box = np.array([*corner, *far], np.float32)
            boxes.append(box)
            labels.append(int(rng.integers(len(NAMES))))
            crowd.append(bool(rng.random() < 0.15))
            masks.append(ellipse(box, height, width))
            if rng.random() < 0.8:
                moved = box + rng.normal(0, 1.5, 4).astype(np.float32)
                label = labels[-1] if rng.random() < 0.9 else int(rng.integers(len(NAMES)))
                found.append((moved, label, on_grid(masks[-1], box, GRID)))
        for _ in range(3):
            corner = rng.integers(0, [width - 24, height - 24])
            box = np.array([*corner, *(corner + rng.integers(12, 24, 2))], np.float32)
            found.append((box, int(rng.integers(len(NAMES))), rng.random((GRID, GRID)) > 0.3))
        n, spread = len(boxes), np.tile(scale[::-1], 2)
        batch["boxes"][i, :n], batch["labels"][i, :n] = np.array(boxes) * spread, labels
        batch["crowd"][i, :n] = crowd
        for k in range(n):
            batch["masks"][i, k] = on_grid(masks[k], boxes[k], TRUTH_GRID)
        for k, (box, label, grid) in enumerate(found[:detections]):
            answers["boxes"][i, k], answers["labels"][i, k] = box * spread, label
            answers["scores"][i, k] = rng.uniform(0.05, 1)
            answers["masks"][i, k] = np.where(grid, 0.9, 0.1)
        examples.append(
            {
                "image": np.zeros((height, width, 3), np.uint8),
                "name": f"{i}.png",
                "semantic": None,
                "boxes": np.array(boxes, np.float32),
                "labels": np.array(labels, np.int32),
                "crowd": np.array(crowd),
                "masks": tuple(Bitmap(mask) for mask in masks),
                "index": i,
            }
        )
    return Case(examples, batch, answers)
