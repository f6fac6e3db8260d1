"""Weights in 8 bits: symmetric scales, stored in the narrow type behind a DequantizeLinear."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Shaped

from export.quantize.grids import INT8, Grid


def quantise(
    weights: Float[np.ndarray, "..."],
    axis: int | None,
    dtype: np.dtype | type = np.float32,
    grid: Grid = INT8,
) -> tuple[Shaped[np.ndarray, "..."], Float[np.ndarray, " channels"]]:
    """Rounds each channel along `axis` (None: all of them together) to the numbers of `grid`, zero at zero.

    A channel's scale is its largest magnitude over the largest number of the grid, rounded up to `dtype`
    before it is used, so that what the file holds is what the weights were rounded with. A channel of zeros
    gets the smallest scale there is.

    Returns:
      weights of the same shape in the grid's type, and scales (channels,) of type `dtype`, () for `axis`
      None; in int8, `weights` is within half a scale of their product, in fp8 within a sixteenth of itself
      (down to 2**-6 scales, and half a 2**-9th scale below).

    Raises:
      ValueError: weights that are not finite, or scales beyond the range of `dtype`.
    """
    if not np.isfinite(weights).all():
        raise ValueError("weights hold NaN or infinity")
    wide = (
        weights.astype(np.float64)[None] if axis is None else np.moveaxis(weights.astype(np.float64), axis, 0)
    )
    largest = np.abs(wide).reshape(len(wide), -1).max(1, initial=0.0)
    scales = scales_for(largest, dtype, grid)
    rounded = grid.rounded(wide / scales.astype(np.float64).reshape(-1, *[1] * (wide.ndim - 1)))
    if axis is None:
        return rounded[0], scales.reshape(())
    return np.ascontiguousarray(np.moveaxis(rounded, 0, axis)), scales


def dequantise(
    rounded: Shaped[np.ndarray, "..."], scales: Float[np.ndarray, " channels"], axis: int | None
) -> Float[np.ndarray, "..."]:
    """What a DequantizeLinear makes of `quantise`'s result, in float64."""
    shape = [1] * rounded.ndim
    if axis is not None:
        shape[axis] = -1
    return rounded.astype(np.float64) * scales.astype(np.float64).reshape(shape)


def scales_for(
    largest: Float[np.ndarray, " n"], dtype: np.dtype | type = np.float32, grid: Grid = INT8
) -> Float[np.ndarray, " n"]:
    """Largest magnitudes -> scales in `dtype`: rounded up, so that the largest number of the grid reaches the
    magnitude, and never zero.

    Raises:
      ValueError: a magnitude whose scale `dtype` cannot hold.
    """
    steps = np.maximum(np.asarray(largest, np.float64) / grid.largest, grid.smallest_scale)
    if not (steps <= float(np.finfo(dtype).max)).all():
        raise ValueError(f"a range of {np.max(largest):.3g} has no scale in {np.dtype(dtype).name}")
    near = steps.astype(dtype)
    up = np.nextafter(near, np.asarray(np.inf, dtype))
    return np.where((near.astype(np.float64) < steps) | (near == 0), up, near).astype(dtype)
