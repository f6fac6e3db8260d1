"""RoIAlign over a feature pyramid (He et al., Mask R-CNN, arXiv 1703.06870, section 3).

A box is cut into `size` x `size` cells; a cell's value is the mean of `sampling_ratio` x `sampling_ratio`
points, each read from the map by bilinear interpolation. As detectron2's and mmcv's `aligned=True` and ONNX's
`RoiAlign` with half_pixel coordinates: the value of a map's pixel belongs to its centre, and small boxes are
not widened.

All levels lie in one array, one row a pixel, and each box reads the rows of its own level. So the work is
that of one level, with static shapes, whatever the boxes. An exported graph has the same gathers: TensorRT
knows ONNX's operator as a plugin that asks for the GPU while a file is read, and engines are built without
one (TensorRT for RTX 1.7).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from hvjax.dense.boxes import take
from hvjax.models.numbers import INTEGERS

Pair = tuple[int, int]
Maps = tuple[Array, ...]


def roi_align(
    pyramid: Sequence[Float[Array, "b _h _w c"]],
    boxes: Float[Array, "b n 4"],
    levels: Int[Array, "b n"],
    size: int | Pair,
    strides: Sequence[int],
    *,
    sampling_ratio: int = 2,
) -> Float[Array, "b n h w c"]:
    """Read the features under each box, from the map of its level.

    Args:
      pyramid: maps of one image batch, NHWC, any number of them (one map: levels of zeros).
      boxes: x1 y1 x2 y2 in pixels of the image; zeros that pad a list read something finite.
      levels: which map each box is read from (`roi_levels`), in [0, number of maps).
      size: cells of the result, one number or (vertical, horizontal).
      strides: pixels of the image per pixel of each map.
      sampling_ratio: points along each axis of a cell.

    Returns:
      (b, n, vertical, horizontal, c) in the type of the maps; sums are in float32. Points more than a pixel
      outside of a map count as zero. Differentiable (in reverse mode) in the maps, not in the boxes.

    Raises:
      ValueError: if there is not one stride a map, or the sizes are not positive.
    """
    rows, columns = (size, size) if isinstance(size, INTEGERS) else size
    if len(pyramid) != len(strides) or not pyramid:
        raise ValueError(f"{len(pyramid)} maps, but strides {tuple(strides)}: expected one stride a map")
    if min(rows, columns, sampling_ratio, *strides) < 1:
        raise ValueError(
            f"size={size}, strides={tuple(strides)}, sampling_ratio={sampling_ratio}: expected 1 or more"
        )
    grid = _Grid(rows, columns, tuple(strides), sampling_ratio)
    cells = _align(grid, tuple(pyramid), boxes.astype(jnp.float32), levels.astype(jnp.int32))
    return cells.reshape(*levels.shape, rows, columns, cells.shape[-1])


@dataclass(frozen=True)
class _Grid:
    rows: int
    columns: int
    strides: tuple[int, ...]
    ratio: int


def _read(grid: _Grid, pyramid: Maps, boxes: Array, levels: Array) -> Float[Array, "b*n h w c"]:
    """The mean of each cell, as a weighted sum of pixels."""
    b, _, _, channels = pyramid[0].shape
    index, weight = _taps(grid, [level.shape[1:3] for level in pyramid], boxes, levels)
    flat = jnp.concatenate([level.reshape(b, -1, channels) for level in pyramid], axis=1)
    taps = (
        take(flat, index[..., tap]).astype(jnp.float32) * weight[..., tap, None]
        for tap in range(index.shape[-1])
    )
    cells = reduce(jnp.add, taps).astype(flat.dtype)
    return cells.reshape(-1, grid.rows, grid.columns, channels)


def _forward(
    grid: _Grid, pyramid: Maps, boxes: Array, levels: Array
) -> tuple[Array, tuple[Maps, Array, Array]]:
    # of the maps only shape and type are kept: the operation is linear in them
    likes = tuple(level[..., :0] for level in pyramid)
    return _read(grid, pyramid, boxes, levels), (likes, boxes, levels)


def _backward(
    grid: _Grid, kept: tuple[Maps, Array, Array], cotangent: Array
) -> tuple[tuple[Array, ...], None, None]:
    likes, boxes, levels = kept
    index, weight = _taps(grid, [like.shape[1:3] for like in likes], boxes, levels)
    counts = [like.shape[1] * like.shape[2] for like in likes]
    b, channels = levels.shape[0], cotangent.shape[-1]
    cotangent = cotangent.astype(jnp.float32).reshape(b, -1, channels)

    # one tap after the other, into one array: all at once would take 16 times the memory of the cotangent
    def add(tap: Array, gradient: Array) -> Array:
        rows, shares = (lax.dynamic_index_in_dim(x, tap, 2, keepdims=False) for x in (index, weight))
        return jax.vmap(_add_rows)(gradient, rows, cotangent * shares[..., None])

    start = jnp.zeros((b, sum(counts), channels), jnp.float32)
    gradient = lax.fori_loop(0, index.shape[-1], add, start)
    parts = jnp.split(gradient, np.cumsum(counts)[:-1].tolist(), axis=1)
    gradients = tuple(
        part.reshape(*like.shape[:3], channels).astype(like.dtype)
        for part, like in zip(parts, likes, strict=True)
    )
    return gradients, None, None


_align = jax.custom_vjp(_read, nondiff_argnums=(0,))
_align.defvjp(_forward, _backward)


def _taps(
    grid: _Grid, shapes: Sequence[tuple[int, ...]], boxes: Array, levels: Array
) -> tuple[Int[Array, "b cells taps"], Float[Array, "b cells taps"]]:
    """Which pixels of the flattened pyramid make each cell, and by what weights."""
    sizes = np.array(shapes, np.int32)
    counts = sizes.prod(axis=1)
    starts = (np.cumsum(counts) - counts).astype(np.int32)
    height, width, start = (_of_level(table, levels) for table in (sizes[:, 0], sizes[:, 1], starts))
    scale = _of_level(1 / np.array(grid.strides, np.float32), levels)
    # places are counted from the centre of a map's first pixel
    corners = boxes * scale - 0.5
    y, y_weight = _axis_taps(corners[..., 1:2], corners[..., 3:4], height, grid.rows, grid.ratio)
    x, x_weight = _axis_taps(corners[..., 0:1], corners[..., 2:3], width, grid.columns, grid.ratio)
    # (b, n, rows, taps) and (b, n, columns, taps) -> (b, n * rows * columns, taps * taps)
    first = start[..., None] + y * width[..., None]
    index = first[..., :, None, :, None] + x[..., None, :, None, :]
    weight = y_weight[..., :, None, :, None] * x_weight[..., None, :, None, :]
    b, n = levels.shape
    merged = (b, n * grid.rows * grid.columns, y.shape[-1] * x.shape[-1])
    return index.reshape(merged), weight.reshape(merged)


def _axis_taps(
    first: Float[Array, "b n 1"],
    last: Float[Array, "b n 1"],
    length: Int[Array, "b n 1"],
    cells: int,
    ratio: int,
) -> tuple[Int[Array, "b n cells taps"], Float[Array, "b n cells taps"]]:
    """The same along one axis, for boxes that reach from `first` to `last` on maps of `length` pixels."""
    places = (np.arange(cells * ratio, dtype=np.float32) + 0.5) / np.float32(cells * ratio)
    point = first + (last - first) * places
    end = length.astype(jnp.float32)
    inside = ((point >= -1) & (point <= end)).astype(jnp.float32) * np.float32(1 / ratio)
    point = jnp.clip(point, 0, end - 1)
    # the last point lies between the last two pixels, with all its weight on the second
    low = jnp.minimum(jnp.floor(point), jnp.maximum(end - 2, 0))
    share = point - low
    pixel = low.astype(jnp.int32)
    pixels = jnp.stack([pixel, jnp.minimum(pixel + 1, length - 1)], axis=-1)
    weights = jnp.stack([inside * (1 - share), inside * share], axis=-1)
    shape = (*point.shape[:-1], cells, ratio * 2)
    return pixels.reshape(shape), weights.reshape(shape)


def _of_level(table: np.ndarray, levels: Array) -> Array:
    """What the table says of each box's level, (b, n, 1)."""
    picked = jnp.asarray(table).at[levels].get(mode="promise_in_bounds", wrap_negative_indices=False)
    return picked[..., None]


def _add_rows(total: Array, index: Array, rows: Array) -> Array:
    return total.at[index].add(rows, mode="promise_in_bounds", wrap_negative_indices=False)
