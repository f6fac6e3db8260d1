"""What a segmenter or detector says of a photograph, in the photograph's own pixels. NumPy only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from export.arguments import UsageError
from export.run_dense_canvas import Size
from hvjax.dense.paste import paste_mask

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, UInt8

#: Classes that a map of 8 bits can number: 255 means "no class" in the maps of data sets.
MOST_CLASSES = 255
#: Side of the squares in which a photograph's classes are found: what fits a processor's cache.
TILE = 128

Box = tuple[float, float, float, float]  # x1 y1 x2 y2


@dataclass(frozen=True)
class Found:
    """An object: its class, probability and box in the photograph, clipped to it; `predicted`: the box as it
    was answered, in the same pixels, and `grid`, the probabilities of its mask inside of that."""

    label: int
    score: float
    box: Box
    predicted: Float[np.ndarray, "4"]
    grid: Float[np.ndarray, "rows columns"]

    def mask(self, size: Size, scale: tuple[float, float] = (1.0, 1.0)) -> Bool[np.ndarray, "h w"]:
        """The mask in the photograph, of this size, or in a picture of it.

        Args:
          scale: pixels of the picture for each one of the photograph, along (y, x).
        """
        return paste_mask(self.grid, self.predicted * np.tile(scale[::-1], 2), *size)


def objects(
    answers: Mapping[str, np.ndarray], row: int, size: Size, shown: Size, least_score: float
) -> list[Found]:
    """The objects of one photograph of a batch, best first.

    Args:
      answers: "boxes", "scores", "labels" (-1: none) and "masks" of a detector.
      size, shown: of the photograph, and of it on the canvas. Boxes wholly in the padding are dropped.
      least_score: what is less sure is dropped.

    Raises:
      UsageError: a box, score or mask is not finite.
    """
    labels = answers["labels"][row]
    kept = np.flatnonzero(labels >= 0)
    scores, grids = answers["scores"][row].astype(np.float64), answers["masks"][row]
    height, width = size
    scale = np.array([shown[1] / width, shown[0] / height] * 2)
    boxes = answers["boxes"][row].astype(np.float64) / scale
    if not all(np.isfinite(part[kept]).all() for part in (boxes, scores, grids)):
        raise UsageError("the model answers boxes, scores or masks that are not finite")
    clipped = np.clip(boxes, 0, [width, height] * 2)
    there = (clipped[:, 2:] > clipped[:, :2]).all(1) & (labels >= 0) & (scores >= least_score)
    return [
        Found(int(labels[i]), float(scores[i]), _box(clipped[i]), boxes[i], grids[i])
        for i in np.argsort(-scores, kind="stable")
        if there[i]
    ]


def run_lengths(mask: Bool[np.ndarray, "h w"]) -> list[int]:
    """COCO's uncompressed counts: lengths of runs of 0 and 1 in turn, down the columns, 0 first."""
    line = mask.ravel(order="F")
    ends = np.flatnonzero(line[1:] != line[:-1]) + 1
    counts = np.diff(np.concatenate([[0], ends, [line.size]])).tolist()
    return [0, *counts] if line[0] else counts


def class_map(logits: Float[np.ndarray, "rows columns classes"], size: Size) -> UInt8[np.ndarray, "h w"]:
    """The class of each pixel of a photograph: logits brought to its size, bilinearly, and the greatest.

    Centres meet centres, and nothing is averaged before (`align_corners=False` of PyTorch, as mmsegmentation
    resizes). Square by square and class after class: (h, w, classes) of a photograph takes gigabytes.

    Args:
      logits: of the photograph on the canvas, without the padding.
      size: (height, width) of the photograph.

    Raises:
      UsageError: a logit is not finite.
    """
    if not np.isfinite(logits).all():
        raise UsageError("the model answers logits that are not finite")
    planes = np.moveaxis(logits, -1, 0)
    classes = np.empty(size, np.uint8)
    lines = [_between(*lengths) for lengths in zip(planes.shape[1:], size, strict=True)]
    for top in range(0, size[0], TILE):
        for left in range(0, size[1], TILE):
            tile = np.s_[top : top + TILE, left : left + TILE]
            rows, columns = (line[:, part] for line, part in zip(lines, tile, strict=True))
            classes[tile] = _greatest(planes, rows, columns)
    return classes


def _greatest(planes: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The greatest of the planes (classes, h, w), interpolated where these rows and columns meet."""
    (above, below, down), (left, right, across) = _within(rows), _within(columns)
    part = planes[:, int(rows[0][0]) : int(rows[1][-1]) + 1, int(columns[0][0]) : int(columns[1][-1]) + 1]
    part = np.ascontiguousarray(part)  # of maps whose classes come last, a class lies far apart
    # what lies between numbers is within them: a class that is nowhere as high as another one everywhere
    # cannot be the greatest, and of 150 classes few remain
    least, most = part.min((1, 2)), part.max((1, 2))
    winner = np.zeros((len(above), len(left)), np.uint8)
    best = np.full(winner.shape, -np.inf, np.float32)
    for number in np.flatnonzero(most >= least.max()):
        plane = part[number].astype(np.float32)
        wide = plane[:, left] * (1 - across) + plane[:, right] * across
        values = wide[above] * (1 - down[:, None]) + wide[below] * down[:, None]
        np.copyto(winner, np.uint8(number), where=values > best)
        np.maximum(best, values, out=best)
    return winner


def shares(classes: UInt8[np.ndarray, "h w"]) -> list[tuple[int, float]]:
    """(class, share of the pixels) of the classes that are there, largest first."""
    counts = np.zeros(MOST_CLASSES + 1, np.int64)
    for line in classes:  # NumPy would count over a copy in 64 bits
        counts += np.bincount(line, minlength=len(counts))
    order = np.argsort(-counts, kind="stable")
    return [(int(label), float(counts[label] / classes.size)) for label in order if counts[label]]


def _between(source: int, target: int) -> np.ndarray:
    """(3, target): of each of `target` pixels the two of `source` beside its centre, the second's share."""
    places = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
    first = np.floor(places)
    return np.stack([first, np.minimum(first + 1, source - 1), places - first])


def _within(line: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A part of `_between`, counted from its first pixel of the source."""
    first, second = (line[:2] - line[0, 0]).astype(np.int64)
    return first, second, line[2].astype(np.float32)


def _box(values: Float[np.ndarray, "4"]) -> Box:
    x1, y1, x2, y2 = (float(value) for value in values)
    return x1, y1, x2, y2
