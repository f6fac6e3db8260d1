"""Anchors against worked cases of mmdetection's AnchorGenerator."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from hvjax.dense.anchors import anchors_on_images, cell_anchors, level_anchors, pyramid_anchors

STRIDES = (4, 8, 16, 32, 64)


def test_anchors_of_a_cell() -> None:
    """Sides of 8 strides: 32 x 32, and of the same area 45.25 x 22.63 and 22.63 x 45.25."""
    wanted = [[-22.627417, -11.3137085, 22.627417, 11.3137085], [-16, -16, 16, 16]]
    wanted.append([-11.3137085, -22.627417, 11.3137085, 22.627417])
    np.testing.assert_allclose(cell_anchors(4), wanted, rtol=1e-6)


@pytest.mark.parametrize("stride", STRIDES)
def test_ratios_keep_the_area(stride: int) -> None:
    anchors = cell_anchors(stride)
    width, height = (anchors[:, 2:] - anchors[:, :2]).T
    np.testing.assert_allclose(width * height, (8 * stride) ** 2, rtol=1e-6)
    np.testing.assert_allclose(height / width, [0.5, 1, 2], rtol=1e-6)


def test_levels_of_the_reference() -> None:
    """The two examples in the documentation of mmdetection's AnchorGenerator."""
    fine, coarse = pyramid_anchors([(2, 2), (1, 1)], [16, 32], scale=9 / 16, ratios=[1.0])
    wanted = [
        [-4.5, -4.5, 4.5, 4.5],
        [11.5, -4.5, 20.5, 4.5],
        [-4.5, 11.5, 4.5, 20.5],
        [11.5, 11.5, 20.5, 20.5],
    ]
    np.testing.assert_array_equal(fine, wanted)
    np.testing.assert_array_equal(coarse, [[-9, -9, 9, 9]])


def test_order_is_rows_columns_ratios() -> None:
    anchors = level_anchors((3, 5), 8)
    assert anchors.shape == (45, 4) and anchors.dtype == np.float32
    assert isinstance(anchors, np.ndarray)  # a constant of the traced model
    for row, column, ratio in [(0, 0, 0), (0, 1, 2), (2, 0, 1), (2, 4, 2)]:
        moved = cell_anchors(8)[ratio] + np.array([column, row, column, row]) * 8
        np.testing.assert_allclose(anchors[(row * 5 + column) * 3 + ratio], moved, rtol=1e-6)


def test_published_number_of_anchors() -> None:
    """800 x 1344 pixels, as in mmdetection's Mask R-CNN."""
    shapes = [(200, 336), (100, 168), (50, 84), (25, 42), (13, 21)]
    assert [len(level) for level in pyramid_anchors(shapes, STRIDES)] == [201600, 50400, 12600, 3150, 819]


def test_anchors_on_the_real_image() -> None:
    shapes, sizes = [(4, 6), (2, 3)], np.array([[16, 24], [9, 8], [1, 17]])
    flags = anchors_on_images(shapes, [4, 8], jnp.array(sizes))
    anchors = pyramid_anchors(shapes, [4, 8])
    assert [level.shape for level in flags] == [(3, 72), (3, 18)]
    for level, boxes in zip(flags, anchors, strict=True):
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        expected = (centres[None] < sizes[:, None, ::-1]).all(-1)
        np.testing.assert_array_equal(level, expected)
    assert flags[0][0].all() and flags[0][1].sum() == 3 * 2 * 3 and flags[1][2].sum() == 1 * 3 * 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cell_anchors(0), "stride=0"),
        (lambda: cell_anchors(4, scale=-1.0), "scale=-1.0"),
        (lambda: cell_anchors(4, ratios=()), r"ratios=\(\)"),
        (lambda: cell_anchors(4, ratios=(1.0, 0.0)), r"ratios=\(1.0, 0.0\)"),
        (lambda: pyramid_anchors([(2, 2)], STRIDES), "1 maps, but strides"),
        (lambda: anchors_on_images([(2, 2)], STRIDES, jnp.ones((1, 2), jnp.int32)), "1 maps, but strides"),
    ],
)
def test_mistakes(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
