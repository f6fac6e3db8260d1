"""Masks of boxes in images, against interpolation pixel by pixel."""

import numpy as np
import pytest

from hvjax.dense import paste, paste_mask

# Values this near the threshold may fall to either side, by rounding.
UNDECIDED = 1e-9


def interpolated(grid: np.ndarray, box, height: int, width: int) -> np.ndarray:
    """The grid at each pixel's centre, by the formula for four neighbours, zero outside."""
    rows, columns = grid.shape
    x1, y1, x2, y2 = box
    padded = np.pad(grid.astype(np.float64), 1)
    values = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            y = (i + 0.5 - y1) / (y2 - y1) * rows - 0.5
            x = (j + 0.5 - x1) / (x2 - x1) * columns - 0.5
            if not (-1 < y < rows and -1 < x < columns):
                continue
            top, left = int(np.floor(y)), int(np.floor(x))
            down, across = y - top, x - left
            a, b = padded[top + 1, left + 1 : left + 3], padded[top + 2, left + 1 : left + 3]
            values[i, j] = (1 - down) * (a @ [1 - across, across]) + down * (b @ [1 - across, across])
    return values


@pytest.mark.parametrize(
    "box",
    [
        (3.2, 4.7, 21.9, 17.1),
        (-6.5, -3.0, 12.25, 40.0),  # beyond the image on three sides
        (10.5, 8.0, 13.0, 9.0),  # smaller than the grid
        (0.0, 0.0, 24.0, 20.0),
    ],
)
@pytest.mark.parametrize("threshold", [0.5, 0.2])
def test_pixel_by_pixel(box: tuple[float, ...], threshold: float) -> None:
    grid = np.random.default_rng(0).random((7, 5)).astype(np.float32)
    expected = interpolated(grid, box, 20, 24)
    clear = np.abs(expected - threshold) > UNDECIDED
    mask = paste_mask(grid, np.array(box), 20, 24, threshold)
    assert mask.shape == (20, 24) and mask.dtype == bool
    np.testing.assert_array_equal(mask[clear], (expected >= threshold)[clear])
    assert clear.mean() > 0.9


def test_a_tall_mask_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are computed some at a time; where they are cut changes no bit."""
    grid = np.random.default_rng(1).random((28, 28)).astype(np.float32)
    box = np.array([-3.3, 5.1, 50.2, 2 * paste.ROWS + 40.7])
    found = paste_mask(grid, box, 3 * paste.ROWS, 40)
    assert found[:, 20].sum() > paste.ROWS / 4, "or there was nothing to cut"
    for rows in (1, 7, 10_000):
        monkeypatch.setattr(paste, "ROWS", rows)
        np.testing.assert_array_equal(paste_mask(grid, box, *found.shape), found)


def test_a_box_of_the_grids_own_size_keeps_every_cell() -> None:
    grid = np.random.default_rng(1).random((28, 28)) > 0.5
    mask = paste_mask(grid, np.array([5, 2, 33, 30]), 40, 50)
    np.testing.assert_array_equal(mask[2:30, 5:33], grid)
    assert mask.sum() == grid.sum()


def test_a_full_grid_fills_its_box() -> None:
    mask = paste_mask(np.ones((28, 28), np.float32), np.array([4.0, 6.0, 44.0, 26.0]), 32, 48)
    expected = np.zeros((32, 48), bool)
    expected[6:26, 4:44] = True
    np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize(
    "box", [(60, 3, 80, 9), (3, -20, 9, -5), (5, 5, 5, 9), (9, 5, 5, 9), (8, 8, 8, 8), (-9, -9, -2, -2)]
)
def test_boxes_without_area_or_outside_have_no_mask(box: tuple[int, ...]) -> None:
    assert not paste_mask(np.ones((28, 28)), np.array(box), 32, 48).any()
