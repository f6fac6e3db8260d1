"""RoIAlign over a feature pyramid (He et al., Mask R-CNN, arXiv 1703.06870, section 3).

A box is cut into `size` x `size` cells; a cell's value is the mean of `sampling_ratio` x `sampling_ratio`
points, each read from the map by bilinear interpolation. As detectron2's and mmcv's `aligned=True` and ONNX's
`RoiAlign` with half_pixel coordinates: the value of a map's pixel belongs to its centre, and small boxes are
not widened.

All levels lie in one array, one row a pixel, and each box reads the rows of its own level. So the work is
that of one level, with static shapes, whatever the boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from hvjax.dense.boxes import take

Pair = tuple[int, int]


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
      outside of a map count as zero. Differentiable in the maps, not in the boxes.

    Raises:
      ValueError: if there is not one stride a map, or the sizes are not positive.
    """
    rows, columns = (size, size) if isinstance(size, int) else size
    if len(pyramid) != len(strides) or not pyramid:
        raise ValueError(f"{len(pyramid)} maps, but strides {tuple(strides)}: expected one stride a map")
    if min(rows, columns, sampling_ratio) < 1:
        raise ValueError(f"size={size}, sampling_ratio={sampling_ratio}: expected at least 1")
    shapes = np.array([level.shape[1:3] for level in pyramid], np.int32)
    counts = shapes.prod(axis=1)
    starts = (np.cumsum(counts) - counts).astype(np.int32)
    height, width, start = (_of_level(table, levels) for table in (shapes[:, 0], shapes[:, 1], starts))
    scale = _of_level(1 / np.array(strides, np.float32), levels)
    corners = lax.stop_gradient(boxes.astype(jnp.float32)) * scale - 0.5
    y, y_weight = _taps(corners[..., 1:2], corners[..., 3:4], height, rows, sampling_ratio)
    x, x_weight = _taps(corners[..., 0:1], corners[..., 2:3], width, columns, sampling_ratio)
    # (b, n, vertical, taps) and (b, n, horizontal, taps) -> (b, n * vertical * horizontal, taps * taps)
    y = start[..., None] + y * width[..., None]
    index = y[..., :, None, :, None] + x[..., None, :, None, :]
    weight = y_weight[..., :, None, :, None] * x_weight[..., None, :, None, :]
    b, n = levels.shape
    merged = (b, n * rows * columns, y.shape[-1] * x.shape[-1])
    flat = jnp.concatenate([level.reshape(b, -1, level.shape[-1]) for level in pyramid], axis=1)
    cells = _weighted_rows(flat, index.reshape(merged), weight.reshape(merged))
    return cells.reshape(b, n, rows, columns, flat.shape[-1])


def _of_level(table: np.ndarray, levels: Array) -> Array:
    """What the table says of each box's level, (b, n, 1)."""
    picked = jnp.asarray(table).at[levels].get(mode="promise_in_bounds", wrap_negative_indices=False)
    return picked[..., None]


def _taps(
    first: Float[Array, "b n 1"],
    last: Float[Array, "b n 1"],
    length: Int[Array, "b n 1"],
    cells: int,
    ratio: int,
) -> tuple[Int[Array, "b n cells taps"], Float[Array, "b n cells taps"]]:
    """Pixels that the points of each cell lie between along one axis, and their weights in its mean.

    `first` and `last` are the borders of the box on the map, in pixels from the centre of the first one.
    """
    places = (np.arange(cells * ratio, dtype=np.float32) + 0.5) / np.float32(cells * ratio)
    point = first + (last - first) * places
    end = length.astype(jnp.float32)
    inside = ((point >= -1) & (point <= end)).astype(jnp.float32) / ratio
    point = jnp.clip(point, 0, end - 1)
    # the last point lies between the last two pixels, with all its weight on the second
    low = jnp.minimum(jnp.floor(point), jnp.maximum(end - 2, 0))
    share = point - low
    pixel = low.astype(jnp.int32)
    pixels = jnp.stack([pixel, jnp.minimum(pixel + 1, length - 1)], axis=-1)
    weights = jnp.stack([inside * (1 - share), inside * share], axis=-1)
    shape = (*point.shape[:-1], cells, ratio * 2)
    return pixels.reshape(shape), weights.reshape(shape)


@jax.custom_vjp
def _weighted_rows(
    flat: Float[Array, "b p c"], index: Int[Array, "b m k"], weight: Float[Array, "b m k"]
) -> Float[Array, "b m c"]:
    """Sums over k of `weight * flat[index]`.

    One tap after the other, forward and backward: all rows at once would be 16 times the result, and the
    gradient that JAX derives would add up 16 arrays of the size of the pyramid.
    """
    taps = (
        take(flat, index[..., tap]).astype(jnp.float32) * weight[..., tap, None]
        for tap in range(index.shape[-1])
    )
    return reduce(jnp.add, taps).astype(flat.dtype)


def _forward(flat: Array, index: Array, weight: Array) -> tuple[Array, tuple[Array, Array, Array]]:
    # no pixel of the maps is kept, only their shape and type
    return _weighted_rows(flat, index, weight), (flat[..., :0], index, weight)


def _backward(kept: tuple[Array, Array, Array], cotangent: Array) -> tuple[Array, None, None]:
    like, index, weight = kept
    cotangent = cotangent.astype(jnp.float32)
    gradient = jnp.zeros((*like.shape[:2], cotangent.shape[-1]), jnp.float32)
    for tap in range(index.shape[-1]):
        gradient = jax.vmap(_add_rows)(gradient, index[..., tap], cotangent * weight[..., tap, None])
    return gradient.astype(like.dtype), None, None


def _add_rows(total: Array, index: Array, rows: Array) -> Array:
    return total.at[index].add(rows, mode="promise_in_bounds", wrap_negative_indices=False)


_weighted_rows.defvjp(_forward, _backward)
