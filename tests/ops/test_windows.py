"""Windows of feature maps, against loops over their tokens."""

import numpy as np
import pytest

from hvjax.ops.windows import MASKED, Windows, merge_patches, relative_index


def test_one_transposition_cuts_windows_and_heads():
    windows, (parts, heads, d) = Windows(4, 6, (2, 3)), (3, 2, 5)
    x = np.random.default_rng(0).normal(size=(2, 4, 6, parts * heads * d)).astype(np.float32)
    pieces = np.asarray(windows.split_heads(x, parts, heads))
    assert pieces.shape == (parts, 2, 4, heads, 6, d)
    for row in range(4):
        for column in range(6):
            window, token = 2 * (row // 2) + column // 3, 3 * (row % 2) + column % 3
            expected = x[:, row, column].reshape(2, parts, heads, d).transpose(1, 0, 2, 3)
            np.testing.assert_array_equal(pieces[:, :, window, :, token], expected)
    back = np.asarray(windows.merge_heads(pieces[1]))
    np.testing.assert_array_equal(back, x[..., heads * d : 2 * heads * d])


@pytest.mark.parametrize(
    ("size", "window", "shift", "padded"),
    [((4, 6), (2, 3), (0, 0), (4, 6)), ((5, 7), (3, 4), (1, 2), (6, 8)), ((1, 9), (1, 4), (0, 2), (1, 12))],
)
def test_preparing_completes_and_rolls_the_map(size, window, shift, padded):
    windows = Windows(*size, window, shift)
    x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
    prepared = np.asarray(windows.prepare(x))
    assert prepared.shape[1:3] == windows.padded == padded
    for row in range(padded[0]):
        for column in range(padded[1]):
            source = (row + shift[0]) % padded[0], (column + shift[1]) % padded[1]
            inside = source[0] < size[0] and source[1] < size[1]
            expected = x[:, source[0], source[1]] if inside else np.zeros((2, 3), np.float32)
            np.testing.assert_array_equal(prepared[:, row, column], expected)
    np.testing.assert_array_equal(windows.restore(prepared), x)


@pytest.mark.parametrize(
    ("size", "window", "shift"),
    [((6, 9), (3, 3), (1, 2)), ((5, 9), (5, 4), (0, 2)), ((7, 3), (4, 3), (1, 0))],
)
def test_mask_parts_what_the_roll_brought_together(size, window, shift):
    """Two tokens of a window see each other if they are as far apart in the map as in the window."""
    windows = Windows(*size, window, shift)
    height, width = windows.padded
    places = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), -1)
    before = (places + np.array(shift)) % np.array([height, width])
    tiles = [np.asarray(windows.split_heads(p[None], 1, 1))[0, 0, :, 0] for p in (places, before)]
    distances = [tile[:, :, None] - tile[:, None] for tile in tiles]
    close = (distances[0] == distances[1]).all(-1)
    np.testing.assert_array_equal(windows.mask, np.where(close, 0, MASKED))
    assert not close.all()


def test_windows_that_are_not_moved_need_no_mask():
    assert Windows(8, 8, (4, 4)).mask is None


@pytest.mark.parametrize("window", [(3, 3), (2, 3), (1, 2)])
def test_relative_index(window):
    """The table's rows count offsets; smaller windows use those around (0, 0)."""
    whole = (3, 4)
    offsets = [(i, j) for i in range(-2, 3) for j in range(-3, 4)]
    tokens = [(i, j) for i in range(window[0]) for j in range(window[1])]
    index = relative_index(window, whole)
    for a, query in enumerate(tokens):
        for b, key in enumerate(tokens):
            assert offsets[index[a, b]] == (query[0] - key[0], query[1] - key[1])


@pytest.mark.parametrize("size", [(4, 6), (3, 5)])
def test_merging_puts_columns_before_rows(size):
    x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
    merged = np.asarray(merge_patches(x))
    whole = np.pad(x, ((0, 0), (0, size[0] % 2), (0, size[1] % 2), (0, 0)))
    parts = [whole[:, row::2, column::2] for row, column in ((0, 0), (1, 0), (0, 1), (1, 1))]
    np.testing.assert_array_equal(merged, np.concatenate(parts, -1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((4, 4, (0, 2)), r"windows of \(0, 2\) on a map of 4x4: sizes start at 1"),
        ((4, 4, (2, 2), (0, 2)), r"shift=\(0, 2\): expected 0 <= shift < \(2, 2\)"),
    ],
)
def test_impossible_windows(arguments, message):
    with pytest.raises(ValueError, match=message):
        Windows(*arguments)


def test_window_larger_than_that_of_the_table():
    with pytest.raises(ValueError, match=r"windows of \(3, 3\) holds no offsets of windows of \(3, 4\)"):
        relative_index((3, 4), (3, 3))
