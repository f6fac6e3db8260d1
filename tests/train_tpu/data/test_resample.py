"""Resizing: the fast code has Pillow's filters."""

import cv2
import numpy as np
import pytest
from PIL import Image

from train_tpu.data import resample
from train_tpu.data.resample import resize

BILINEAR, BICUBIC = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC
# Two passes, and in each both round, with coefficients of their own number of bits.
ROUNDING_LEVELS = 2
LEVELS = np.random.default_rng(0).integers(80, 176, (90, 130, 3), np.uint8)  # no overshoot is cut off

needs_simd = pytest.mark.skipif(resample.simd is None, reason="no wheel of cykooz-resizer for this machine")


@needs_simd
@pytest.mark.parametrize("size", [32, 64, 200])
@pytest.mark.parametrize("filter_", [BILINEAR, BICUBIC])
def test_simd_is_pillow(filter_: Image.Resampling, size: int) -> None:
    view = LEVELS[7:83, 20:121]  # not contiguous
    expected = np.asarray(Image.fromarray(np.ascontiguousarray(view)).resize((size, size), filter_))
    difference = np.abs(resize(view, size, filter_).astype(int) - expected)
    assert difference.max() <= ROUNDING_LEVELS


def test_pillow_takes_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resample, "simd", None)
    expected = np.asarray(Image.fromarray(LEVELS).resize((48, 48), BICUBIC))
    np.testing.assert_array_equal(resize(LEVELS, 48, BICUBIC), expected)


def test_without_antialiasing_it_is_opencv() -> None:
    expected = cv2.resize(LEVELS, (32, 32), interpolation=cv2.INTER_LINEAR)
    coarse = resize(LEVELS, 32, BILINEAR, antialias=False)
    np.testing.assert_array_equal(coarse, expected)
    # noise at a third of its size: averaging calms it, picking does not
    assert coarse.std() > 1.3 * resize(LEVELS, 32, BILINEAR).std()


@pytest.mark.parametrize("antialias", [True, False])
def test_the_size_wanted_is_left_alone(antialias: bool) -> None:
    square = LEVELS[:90, :90]
    np.testing.assert_array_equal(resize(square, 90, BICUBIC, antialias), square)
