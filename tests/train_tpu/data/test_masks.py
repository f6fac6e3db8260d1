"""Masks, however they are written."""

import numpy as np
import pytest
from dense_folders import HEIGHT, SQUARE, SQUARE_PIXELS, WIDTH

from train_tpu.data.masks import Bitmap, Polygons, RunLengths, pycocotools_mask

CORNERS = np.array(SQUARE["segmentation"][0], np.float32)
COUNTS = [2 + 4 * HEIGHT, *([8, HEIGHT - 8] * 9), 8, 10 + 16 * HEIGHT]  # the square, down the columns
DRAWN = np.random.default_rng(0).random((7, 5)) > 0.5


def compressed(pixels: np.ndarray) -> bytes:
    return pycocotools_mask().encode(np.asfortranarray(pixels.astype(np.uint8)))["counts"]


@pytest.mark.parametrize(
    "mask",
    [
        Bitmap(SQUARE_PIXELS),
        Polygons([CORNERS]),
        RunLengths((HEIGHT, WIDTH), COUNTS),
        RunLengths((HEIGHT, WIDTH), np.array(COUNTS, np.int32)),
        RunLengths((HEIGHT, WIDTH), compressed(SQUARE_PIXELS)),
        RunLengths((HEIGHT, WIDTH), compressed(SQUARE_PIXELS).decode()),
    ],
    ids=["bitmap", "polygon", "lengths", "array of lengths", "compressed", "text"],
)
def test_a_square_however_it_is_written(mask) -> None:
    pixels = mask.bitmap(HEIGHT, WIDTH)
    assert pixels.dtype == bool
    np.testing.assert_array_equal(pixels, SQUARE_PIXELS)


def test_run_lengths_of_any_mask() -> None:
    """Both ways to write down a mask without any order; its first pixel is the object's or not."""
    for pixels in (DRAWN, ~DRAWN):
        flat = pixels.T.ravel()
        changes = np.flatnonzero(np.diff(np.r_[False, flat]))
        counts = np.diff(np.r_[0, changes, flat.size])
        for written in (counts.tolist(), compressed(pixels)):
            np.testing.assert_array_equal(RunLengths((7, 5), written).bitmap(7, 5), pixels)


def test_several_polygons_are_one_mask_and_end_at_the_border() -> None:
    beyond = np.array([20, -5, 60, -5, 60, 3, 20, 3], np.float32)
    expected = SQUARE_PIXELS.copy()
    expected[:3, 20:] = True
    np.testing.assert_array_equal(Polygons([CORNERS, beyond]).bitmap(HEIGHT, WIDTH), expected)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (Bitmap(SQUARE_PIXELS), "a mask of 20x30 pixels, its image has 30x20"),
        (RunLengths((HEIGHT, WIDTH), COUNTS), "a mask of 20x30 pixels, its image has 30x20"),
        (RunLengths((WIDTH, HEIGHT), COUNTS[:-1]), r"a run-length mask of \d+ pixels, its image has 30x20"),
        (RunLengths((WIDTH, HEIGHT), [-1, 601]), r"a run-length mask with a negative run"),
        (RunLengths((WIDTH, HEIGHT), compressed(SQUARE_PIXELS)[:-3]), r"mask of \d+ pixels|damaged"),
    ],
)
def test_masks_of_another_size_or_damaged(mask, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mask.bitmap(WIDTH, HEIGHT)


@pytest.mark.parametrize("side", [1, 3, 40, 700])
def test_compressed_masks_of_all_sizes(side: int) -> None:
    """Long runs take several characters, and differences of runs are negative too."""
    rng = np.random.default_rng(side)
    for share in (0.0, 0.02, 0.5, 1.0):
        pixels = rng.random((side, side + 2)) < share
        pixels[: side // 2] = False
        np.testing.assert_array_equal(
            RunLengths((side, side + 2), compressed(pixels)).bitmap(side, side + 2), pixels
        )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "cut off or damaged"),
        (b"P", "cut off or damaged"),  # says that another character follows
        (b"1 2", "cut off or damaged"),
        (b"\xff", "cut off or damaged"),
        (b"o" * 9 + b"0", "a run beyond any image"),
        ("1é", "cut off or damaged"),
    ],
)
def test_texts_that_are_no_masks(text: "str | bytes", message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RunLengths((5, 7), text).bitmap(5, 7)
