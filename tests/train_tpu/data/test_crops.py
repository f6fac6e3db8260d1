"""Random boxes."""

import math

import numpy as np
import pytest
from laws import KS_LIMIT, coordinates, ks
from PIL import Image

from train_tpu.data import crops
from train_tpu.data.crops import Box


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_boxes_follow_the_law(rng) -> None:
    """In an image so large that nearly every first box fits, area and log aspect are uniform."""
    scale, ratio = (0.05, 0.3), (3 / 4, 4 / 3)
    boxes = [crops.random_box(3000, 3000, rng, scale, ratio) for _ in range(1500)]
    shares = np.array([b.height * b.width / 3000**2 for b in boxes])
    aspects = np.log([b.width / b.height for b in boxes])
    tops = np.array([b.top / (3000 - b.height) for b in boxes])
    assert ks(shares, *scale) < KS_LIMIT
    assert ks(aspects, math.log(ratio[0]), math.log(ratio[1])) < KS_LIMIT
    assert ks(tops, 0, 1) < KS_LIMIT
    assert abs(np.corrcoef(shares, aspects)[0, 1]) < 4 / math.sqrt(len(boxes)), "area and aspect: independent"


@pytest.mark.parametrize("shape", [(40, 50), (1, 1), (3, 200), (200, 3), (2, 2)])
def test_boxes_lie_inside(rng, shape) -> None:
    for _ in range(300):
        box = crops.random_box(*shape, rng, (0.08, 1.0), (3 / 4, 4 / 3))
        assert box.height > 0 and box.width > 0 and box.top >= 0 and box.left >= 0
        assert box.top + box.height <= shape[0] and box.left + box.width <= shape[1]


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        ((20, 200), Box(0, 86, 20, 27)),  # too wide: 20 * 4/3 columns of 200
        ((200, 20), Box(86, 0, 27, 20)),
        ((30, 36), Box(0, 0, 30, 36)),  # of an allowed shape: all of it
    ],
)
def test_central_box(shape, box: Box) -> None:
    assert crops.central_box(*shape, (3 / 4, 4 / 3)) == box


def test_no_box_fits_a_strip(rng) -> None:
    """A 10:1 strip never holds a box of nine tenths of its area at 4:3; the central one is taken."""
    assert crops.random_box(20, 200, rng, (0.9, 1.0), (3 / 4, 4 / 3)) == Box(0, 86, 20, 27)


def test_crop_is_what_the_box_says() -> None:
    pixels = crops.crop(coordinates(60, 70), Box(12, 6, 20, 40))
    assert pixels.shape == (20, 40, 3)
    assert pixels[0, 0, :2].tolist() == [12, 6] and pixels[-1, -1, :2].tolist() == [31, 45]


def test_random_interpolation_is_each_half_the_time(rng) -> None:
    drawn = [crops.resampling("random", rng) for _ in range(400)]
    assert 160 < drawn.count(Image.Resampling.BICUBIC) < 240  # four standard deviations
    assert set(drawn) == {Image.Resampling.BICUBIC, Image.Resampling.BILINEAR}
    assert {crops.resampling("bilinear", rng) for _ in range(20)} == {Image.Resampling.BILINEAR}
