"""Anchors: the boxes that a region proposal network moves (Ren et al., arXiv 1506.01497).

They depend on sizes alone, so they are NumPy constants. Geometry and order are those of mmdetection's
AnchorGenerator with center_offset 0: around the top left corner of each cell, one box per ratio of height to
width, all of one area; rows, then columns, then ratios.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

Pair = tuple[int, int]

SCALE = 8.0
RATIOS = (0.5, 1.0, 2.0)


def cell_anchors(
    stride: int, scale: float = SCALE, ratios: Sequence[float] = RATIOS
) -> Float[np.ndarray, "a 4"]:
    """Anchors of the cell in row 0, column 0: sides of `scale * stride`, stretched to each ratio of height to
    width, with the area kept; their centre is (0, 0). float32, pixels of the image.

    Raises:
      ValueError: if stride, scale or a ratio is not positive, or there is no ratio.
    """
    if stride < 1 or scale <= 0 or not ratios or min(ratios) <= 0:
        raise ValueError(
            f"anchors of stride={stride}, scale={scale}, ratios={tuple(ratios)}: expected positive numbers"
        )
    root = np.sqrt(np.asarray(ratios, np.float64))
    width, height = scale * stride / root, scale * stride * root
    return (np.stack([-width, -height, width, height], axis=-1) / 2).astype(np.float32)


def level_anchors(
    shape: Pair, stride: int, scale: float = SCALE, ratios: Sequence[float] = RATIOS
) -> Float[np.ndarray, "h*w*a 4"]:
    """Anchors of a map of `shape` (height, width) in cells: those of the cell, moved by the stride.

    x1 y1 x2 y2, float32, in pixels of the image, as is `stride`. The order is that of a head's output
    (h, w, a * k) reshaped to (h * w * a, k).

    Raises:
      ValueError: as `cell_anchors`.
    """
    rows, columns = np.meshgrid(*(np.arange(side) * stride for side in shape), indexing="ij")
    corners = np.stack([columns, rows, columns, rows], axis=-1).astype(np.float32)
    return (corners[:, :, None] + cell_anchors(stride, scale, ratios)).reshape(-1, 4)


def pyramid_anchors(
    shapes: Sequence[Pair], strides: Sequence[int], scale: float = SCALE, ratios: Sequence[float] = RATIOS
) -> list[Float[np.ndarray, "n 4"]]:
    """`level_anchors` of every level of a pyramid, finest first.

    Raises:
      ValueError: if there are not as many strides as levels, and as `cell_anchors`.
    """
    _same_count(shapes, strides)
    return [
        level_anchors(shape, stride, scale, ratios) for shape, stride in zip(shapes, strides, strict=True)
    ]


def anchors_on_images(
    shapes: Sequence[Pair], strides: Sequence[int], sizes: Int[Array, "b 2"], per_cell: int = len(RATIOS)
) -> list[Bool[Array, "b n"]]:
    """Which anchors belong to a cell that the real image reaches, on canvases padded at bottom and right.

    Args:
      shapes: (height, width) of each map of the pyramid.
      strides: pixels of the image per cell.
      sizes: (height, width) of the real image, at the top left of the canvas.
      per_cell: anchors of a cell.

    Returns:
      a flag per anchor, in the order of `pyramid_anchors`. A cell in row r is reached if r * stride < height.

    Raises:
      ValueError: if there are not as many strides as levels.
    """
    _same_count(shapes, strides)
    flags = []
    for (height, width), stride in zip(shapes, strides, strict=True):
        rows = np.arange(height, dtype=np.int32) * stride < sizes[:, :1]
        columns = np.arange(width, dtype=np.int32) * stride < sizes[:, 1:]
        cells = rows[:, :, None, None] & columns[:, None, :, None]
        flags.append(
            jnp.broadcast_to(cells, (*cells.shape[:3], per_cell)).reshape(-1, height * width * per_cell)
        )
    return flags


def _same_count(shapes: Sequence[Pair], strides: Sequence[int]) -> None:
    if len(shapes) != len(strides):
        raise ValueError(f"{len(shapes)} maps, but strides {tuple(strides)}: expected one stride a map")
