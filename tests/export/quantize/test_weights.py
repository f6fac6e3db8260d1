"""Weights in int8: half a step a channel, in the type of the scales."""

from __future__ import annotations

import numpy as np
import pytest

from export.quantize.weights import dequantise, quantise, scales_for


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize(("shape", "axis"), [((6, 5, 3, 3), 0), ((5, 6), 1)])
def test_a_round_trip_is_within_half_a_step_of_its_channel(
    dtype: type, shape: tuple[int, ...], axis: int
) -> None:
    rng = np.random.default_rng(0)
    sizes = 10.0 ** np.arange(-5, 1)  # of the channels: the smallest ones have subnormal float16 scales
    along = [1] * len(shape)
    along[axis] = -1
    weights = (rng.normal(size=shape) * sizes.reshape(along)).astype(dtype)
    rounded, scales = quantise(weights, axis, dtype)
    assert rounded.dtype == np.int8 and scales.dtype == dtype and scales.shape == (6,)
    error = np.abs(dequantise(rounded, scales, axis) - weights.astype(np.float64))
    half = scales.astype(np.float64).reshape(along) / 2
    assert (error <= half * (1 + 1e-12)).all(), "1e-12: products in float64"
    assert rounded.min() >= -127
    reached = np.abs(np.moveaxis(rounded, axis, 0).astype(int)).reshape(6, -1).max(1)
    assert (reached[2:] == 127).all() or dtype == np.float16, "each channel uses its whole range"


def test_a_large_channel_does_not_coarsen_the_others() -> None:
    weights = np.array([[0.0005, -0.002], [1000.0, 250.0]], np.float32)
    rounded, scales = quantise(weights, 0)
    assert rounded.tolist() == [[32, -127], [127, 32]]
    assert scales[1] / scales[0] == pytest.approx(500_000, rel=1e-6), "float32"


def test_zeros_and_mistakes() -> None:
    rounded, scales = quantise(np.zeros((2, 3), np.float16), 0, np.float16)
    assert not rounded.any() and (scales > 0).all()
    with pytest.raises(ValueError, match="NaN or infinity"):
        quantise(np.array([[np.nan]]), 0)
    with pytest.raises(ValueError, match="no scale in float16"):
        scales_for(np.array([1e8 * 127]), np.float16)


def test_scales_reach_the_largest_value() -> None:
    for dtype in (np.float16, np.float32):
        largest = np.random.default_rng(0).uniform(0.1, 9, 100)
        assert (scales_for(largest, dtype).astype(np.float64) * 127 >= largest).all()
