"""Crops, flips and shifts."""

import numpy as np
import pytest

from train_tpu.data import augment


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def coordinates(height: int, width: int) -> np.ndarray:
    """Channel 0 is the row, channel 1 the column."""
    rows, columns = np.indices((height, width))
    return np.stack([rows, columns, rows * 0], axis=-1).astype(np.uint8)


def test_random_crop_covers_the_asked_share_and_shape(rng) -> None:
    """Boxes, measured by what they show of a ramp, fill the asked ranges of area and aspect."""
    image, shares, ratios = coordinates(200, 240), [], []
    for _ in range(200):
        crop = augment.random_resized_crop(image, rng, 64, (0.2, 0.6), (3 / 4, 4 / 3)).astype(float)
        assert crop.shape == (64, 64, 3)
        # between the centres of the first and last of 64 pixels lie 63/64 of the box
        h = (crop[-1, 32, 0] - crop[0, 32, 0]) * 64 / 63
        w = (crop[32, -1, 1] - crop[32, 0, 1]) * 64 / 63
        shares.append(h * w / (200 * 240))
        ratios.append(w / h)
    slack = 0.04  # uint8 ramps are read to half a level at each end of a box of some hundred
    assert 0.2 * (1 - slack) < min(shares) < 0.25 and 0.55 < max(shares) < 0.6 * (1 + slack)
    assert 0.75 * (1 - slack) < min(ratios) < 0.8 and 1.25 < max(ratios) < 4 / 3 * (1 + slack)


def test_random_crop_of_an_impossible_shape_is_central(rng) -> None:
    """A 10:1 strip never holds a box of half its area at 4:3; the widest allowed central one is taken."""
    strip = coordinates(20, 200)
    crop = augment.random_resized_crop(strip, rng, 20, (0.9, 1.0), (3 / 4, 4 / 3))
    assert crop[10, 0, 1] == pytest.approx(100 - 13, abs=2) and crop[10, -1, 1] == pytest.approx(
        100 + 13, abs=2
    )


def test_flip_happens_half_the_time(rng) -> None:
    image = coordinates(4, 4)
    flipped = [bool(augment.random_flip(image, rng)[0, 0, 1]) for _ in range(400)]
    assert 160 < sum(flipped) < 240  # four standard deviations
    seen = {augment.random_flip(image, rng).tobytes() for _ in range(20)}
    assert seen == {image.tobytes(), np.ascontiguousarray(image[:, ::-1]).tobytes()}


def test_shift_moves_by_every_offset_and_fills_with_black(rng) -> None:
    image = np.full((8, 8, 3), 9, np.uint8)
    image[4, 4] = 200
    places = set()
    for _ in range(500):
        shifted = augment.random_shift(image, rng, 2)
        (place,) = np.argwhere(shifted[..., 0] == 200)
        places.add((int(place[0]) - 4, int(place[1]) - 4))
        dy, dx = place - 4
        black = (shifted == 0).all(-1)
        assert black.sum() == 64 - (8 - abs(dy)) * (8 - abs(dx))
    assert places == {(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3)}
