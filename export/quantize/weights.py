"""Weights in int8: one symmetric scale for each output channel, stored as int8 behind a DequantizeLinear."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int8

#: Symmetric int8 leaves out -128, so that a weight and its negative round to numbers of one magnitude;
#: TensorRT does the same.
LARGEST = 127


def quantise(
    weights: Float[np.ndarray, "..."], axis: int, dtype: np.dtype | type = np.float32
) -> tuple[Int8[np.ndarray, "..."], Float[np.ndarray, " channels"]]:
    """Rounds each channel along `axis` to 255 steps of its own size, zero at zero.

    A channel's scale is its largest magnitude over 127, rounded up to `dtype` before it is used, so that what
    the file holds is what the weights were rounded with. A channel of zeros gets the smallest scale there is.

    Returns:
      int8 weights of the same shape, and scales (channels,) of type `dtype`; `weights` is within half a
      scale of their product.

    Raises:
      ValueError: weights that are not finite, or scales beyond the range of `dtype`.
    """
    if not np.isfinite(weights).all():
        raise ValueError("weights hold NaN or infinity")
    wide = np.moveaxis(weights.astype(np.float64), axis, 0)
    largest = np.abs(wide).reshape(len(wide), -1).max(1, initial=0.0)
    scales = scales_for(largest, dtype)
    steps = np.rint(wide / scales.astype(np.float64).reshape(-1, *[1] * (wide.ndim - 1)))
    rounded = np.clip(steps, -LARGEST, LARGEST).astype(np.int8)
    return np.ascontiguousarray(np.moveaxis(rounded, 0, axis)), scales


def dequantise(
    rounded: Int8[np.ndarray, "..."], scales: Float[np.ndarray, " channels"], axis: int
) -> Float[np.ndarray, "..."]:
    """What a DequantizeLinear makes of `quantise`'s result, in float64."""
    shape = [1] * rounded.ndim
    shape[axis] = -1
    return rounded.astype(np.float64) * scales.astype(np.float64).reshape(shape)


def scales_for(
    largest: Float[np.ndarray, " n"], dtype: np.dtype | type = np.float32
) -> Float[np.ndarray, " n"]:
    """Largest magnitudes -> steps of a symmetric int8 in `dtype`: rounded up, so that 127 steps reach the
    magnitude, and never zero.

    Raises:
      ValueError: a magnitude whose step `dtype` cannot hold.
    """
    steps = np.asarray(largest, np.float64) / LARGEST
    if not (steps <= float(np.finfo(dtype).max)).all():
        raise ValueError(f"a range of {np.max(largest):.3g} has no scale in {np.dtype(dtype).name}")
    near = steps.astype(dtype)
    up = np.nextafter(near, np.asarray(np.inf, dtype))
    return np.where((near.astype(np.float64) < steps) | (near == 0), up, near).astype(dtype)
