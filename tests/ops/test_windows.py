"""Windows of feature maps."""

import numpy as np
import pytest

from hvjax.ops.windows import merge_windows, pad_to_windows, split_windows


def test_windows_are_the_tiles_of_the_map():
    x = np.arange(2 * 4 * 6 * 3).reshape(2, 4, 6, 3).astype(np.float32)
    windows = split_windows(x, (2, 3))
    assert windows.shape == (2 * 4, 6, 3)
    np.testing.assert_array_equal(windows[0], x[0, :2, :3].reshape(6, 3))
    np.testing.assert_array_equal(windows[1], x[0, :2, 3:].reshape(6, 3))
    np.testing.assert_array_equal(windows[6], x[1, 2:, :3].reshape(6, 3))
    np.testing.assert_array_equal(merge_windows(windows, (2, 3), (4, 6)), x)


@pytest.mark.parametrize(("size", "padded"), [((5, 7), (6, 8)), ((6, 8), (6, 8)), ((1, 9), (3, 12))])
def test_padding_is_below_and_on_the_right(size, padded):
    x = np.random.default_rng(0).normal(size=(1, *size, 2)).astype(np.float32)
    y = np.asarray(pad_to_windows(x, (3, 4)))
    assert y.shape == (1, *padded, 2)
    np.testing.assert_array_equal(y[:, : size[0], : size[1]], x)
    assert y.sum() == pytest.approx(x.sum(), abs=1e-5)


def test_a_map_that_is_not_made_of_windows():
    with pytest.raises(ValueError, match="a map of 5x6 does not consist of windows of 2x3"):
        split_windows(np.zeros((1, 5, 6, 1), np.float32), (2, 3))
