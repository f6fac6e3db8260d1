"""Masks predicted on a grid inside a box, as masks of the whole image. NumPy only."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, Num


#: Rows that are computed at a time: over 50 megapixels 73 MB beside the mask itself, at once it was 1.2 GB.
ROWS = 256


def paste_mask(
    grid: Num[np.ndarray, "rows columns"],
    box: Num[np.ndarray, "4"],
    height: int,
    width: int,
    threshold: float = 0.5,
) -> Bool[np.ndarray, "height width"]:
    """Where the grid, stretched over the box, is at least `threshold` at a pixel's centre.

    Between the cells' centres it is interpolated linearly, and zero outside of the box; as in mmdetection's
    FCNMaskHead and detectron2's paste_masks_in_image (Mask R-CNN, section 3.1: "Inference").

    Args:
      grid: probabilities, or 0 and 1.
      box: x1 y1 x2 y2 in pixels; may reach beyond the image. One without area has no mask.
      height, width: of the image, in pixels.
      threshold: the least probability of what is on.

    Returns:
      In column-major order, as COCO's run lengths need it.
    """
    mask = np.zeros((height, width), bool, order="F")
    x1, y1, x2, y2 = (float(value) for value in box)
    top, above, down = _neighbours(y1, y2, grid.shape[0], height)
    left, before, across = _neighbours(x1, x2, grid.shape[1], width)
    # no matrix products: on arrays this small, BLAS loses milliseconds to its threads
    padded = np.pad(grid.astype(np.float64), 1)
    lines = padded[above] * (1 - down)[:, None] + padded[above + 1] * down[:, None]
    for start in range(0, len(lines), ROWS):
        part = lines[start : start + ROWS]
        values = part[:, before] * (1 - across) + part[:, before + 1] * across
        mask[top + start : top + start + len(part), left : left + len(across)] = values >= threshold
    return mask


def _neighbours(
    start: float, stop: float, cells: int, length: int
) -> tuple[int, Int[np.ndarray, "pixels"], Float[np.ndarray, "pixels"]]:
    """The first pixel of a line that the cells between start and stop reach; of it and each that follows the
    cell before its centre (counted from 1, as 0 is the zero in front) and the share that the next one has."""
    size = (stop - start) / cells
    if not size > 0:
        return 0, np.zeros(0, int), np.zeros(0)
    first = max(0, math.ceil(start - size / 2 - 0.5))
    last = min(length - 1, math.floor(stop + size / 2 - 0.5))
    centres = (np.arange(first, last + 1) + 0.5 - start) / size + 0.5
    before = np.clip(np.floor(centres), 0, cells).astype(int)
    return first, before, np.clip(centres - before, 0, 1)
