"""Boxes: overlaps against counted pixels, moves against worked cases and their own inverse."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvjax.dense import boxes as b

BOX = [4.0, 8.0, 14.0, 28.0]  # 10 wide, 20 high, centre (9, 18)

# float32 keeps 24 bits; a move and its inverse are about ten operations on numbers up to a thousand
ROUND_TRIP = 1e-3


def _array(*boxes: list[float]) -> jax.Array:
    return jnp.array(boxes, jnp.float32)


def test_sides_and_areas() -> None:
    boxes = _array(BOX, [3, 3, 3, 9], [5, 5, 2, 9], [0, 0, 0, 0])
    np.testing.assert_array_equal(b.areas(boxes), [200, 0, 0, 0])
    np.testing.assert_array_equal(b.sides(boxes)[1], [20, 6, 4, 0])
    np.testing.assert_array_equal(b.has_area(boxes), [True, False, False, False])
    np.testing.assert_array_equal(b.has_area(boxes[:1], 10), [False])
    assert b.areas(boxes.astype(jnp.bfloat16)).dtype == jnp.float32


@pytest.mark.parametrize(
    ("second", "iou", "cover"),
    [
        ([0, 0, 2, 2], 1, 1),
        ([1, 1, 3, 3], 1 / 7, 1 / 4),
        ([2, 0, 4, 2], 0, 0),
        ([5, 5, 6, 6], 0, 0),
        ([0, 0, 4, 4], 1 / 4, 1),
        ([1, 1, 1, 1], 0, 0),
    ],
)
def test_overlaps_of_worked_cases(second: list[float], iou: float, cover: float) -> None:
    first = _array([0, 0, 2, 2])
    assert b.pairwise_iou(first, _array(second))[0, 0] == pytest.approx(iou, rel=1e-6)
    assert b.pairwise_cover(first, _array(second))[0, 0] == pytest.approx(cover, rel=1e-6)


def test_empty_boxes_overlap_nothing() -> None:
    empty = jnp.zeros((2, 4))
    np.testing.assert_array_equal(b.pairwise_iou(empty, empty), np.zeros((2, 2)))
    np.testing.assert_array_equal(b.pairwise_cover(empty, _array(BOX)), np.zeros((2, 1)))


CORNERS = st.lists(st.tuples(*[st.integers(0, 12)] * 4), min_size=3, max_size=3)


@settings(deadline=None, max_examples=50)
@given(CORNERS, CORNERS)
def test_overlaps_are_those_of_counted_pixels(first: list, second: list) -> None:
    def pixels(corners: list) -> np.ndarray:
        masks = np.zeros((len(corners), 12, 12), bool)
        for mask, (x1, y1, x2, y2) in zip(masks, corners, strict=True):
            mask[y1:y2, x1:x2] = True
        return masks.reshape(len(corners), -1)

    one, other = pixels(first)[:, None], pixels(second)[None]
    shared, union = (one & other).sum(-1), (one | other).sum(-1)
    expected = shared / np.maximum(union, 1)
    found = b.pairwise_iou(_array(*map(list, first)), _array(*map(list, second)))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    covered = b.pairwise_cover(_array(*map(list, first)), _array(*map(list, second)))
    np.testing.assert_allclose(covered, shared / np.maximum(one.sum(-1), 1), rtol=1e-6)


def test_moves_of_a_worked_case() -> None:
    # 5 to the right, which is half a width; 2 up, a tenth of a height; twice as wide, half as high
    target = [4.0, 11.0, 24.0, 21.0]
    moves = b.encode(_array(BOX), _array(target))
    np.testing.assert_allclose(moves, [[0.5, -0.1, math.log(2), -math.log(2)]], rtol=1e-6)
    spread = b.encode(_array(BOX), _array(target), b.RESULT_SPREAD)
    np.testing.assert_allclose(spread, [[5, -1, 5 * math.log(2), -5 * math.log(2)]], rtol=1e-6)
    np.testing.assert_allclose(b.decode(_array(BOX), spread, b.RESULT_SPREAD), [target], rtol=1e-6)


def test_moves_of_the_reference() -> None:
    """The example in the documentation of mmdetection's delta2bbox (image 32x32)."""
    anchors = _array([0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1], [5, 5, 5, 5])
    moves = _array([0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 2, -1], [0.7, -1.9, -0.5, 0.3])
    expected = [
        [0, 0, 1, 1],
        [0.1409, 0.1409, 2.8591, 2.8591],
        [0, 0.3161, 4.1945, 0.6839],
        [5, 5, 5, 5],
    ]
    found = b.clip(b.decode(anchors, moves)[None], jnp.array([[32, 32]]))
    np.testing.assert_allclose(found[0], expected, atol=5e-5)  # given with four digits


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.sampled_from([b.PROPOSAL_SPREAD, b.RESULT_SPREAD]))
def test_decode_inverts_encode(seed: int, spread: b.Four) -> None:
    rng = np.random.default_rng(seed)
    corners, sides = rng.uniform(0, 800, (2, 8, 2)), rng.uniform(20, 1000, (2, 8, 2))
    anchors, targets = np.concatenate([corners, corners + sides], -1).astype(np.float32)
    moves = b.encode(anchors, targets, spread)
    np.testing.assert_allclose(b.decode(anchors, moves, spread), targets, atol=ROUND_TRIP)


def test_growth_is_limited() -> None:
    grown = b.decode(_array([0, 0, 16, 16]), _array([0, 0, 100, -100]))
    half = 8 * b.LARGEST_GROWTH
    wanted = [[8 - half, 8 - 8 / b.LARGEST_GROWTH, 8 + half, 8 + 8 / b.LARGEST_GROWTH]]
    np.testing.assert_allclose(grown, wanted, rtol=1e-5)


def test_what_pads_a_list_stays_finite() -> None:
    zeros = jnp.zeros((1, 4))
    for anchors, targets in [(zeros, zeros), (zeros, _array(BOX)), (_array(BOX), zeros)]:
        assert jnp.isfinite(b.encode(anchors, targets, b.RESULT_SPREAD)).all()
    np.testing.assert_array_equal(b.decode(zeros, jnp.full((1, 4), 9.0)), zeros)


def test_a_box_for_each_class() -> None:
    rng = np.random.default_rng(0)
    anchors = _array(BOX, [0, 0, 8, 8])
    moves = rng.normal(size=(2, 5, 4)).astype(np.float32)
    every = b.decode(anchors[:, None], moves)
    assert every.shape == (2, 5, 4)
    for label in range(5):
        np.testing.assert_array_equal(every[:, label], b.decode(anchors, moves[:, label]))


def test_moves_are_computed_in_float32() -> None:
    moves = jnp.array([[0.1, 0.1, 0.1, 0.1]], jnp.bfloat16)
    found = b.decode(_array([1000, 1000, 1010, 1010]), moves)
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(
        found, b.decode(_array([1000, 1000, 1010, 1010]), moves.astype(jnp.float32))
    )


def test_clip_knows_the_size_of_each_image() -> None:
    boxes = jnp.broadcast_to(_array([-5, -5, 50, 50], [10, 2, 12, 4]), (2, 2, 4))
    clipped = b.clip(boxes, jnp.array([[20, 30], [40, 11]]))  # height, width
    np.testing.assert_array_equal(clipped[0], [[0, 0, 30, 20], [10, 2, 12, 4]])
    np.testing.assert_array_equal(clipped[1], [[0, 0, 11, 40], [10, 2, 11, 4]])
    by_class = b.clip(jnp.broadcast_to(boxes[:, :, None], (2, 2, 3, 4)), jnp.array([[20, 30], [40, 11]]))
    np.testing.assert_array_equal(by_class[:, :, 1], clipped)


def test_take_picks_for_each_image() -> None:
    values = np.arange(2 * 5 * 4, dtype=np.float32).reshape(2, 5, 4)
    indices = np.array([[4, 0, 0], [1, 2, 3]])
    expected = np.stack([values[0][indices[0]], values[1][indices[1]]])
    np.testing.assert_array_equal(b.take(jnp.array(values), jnp.array(indices)), expected)
    np.testing.assert_array_equal(b.take(jnp.array(values[..., 0]), jnp.array(indices)), expected[..., 0])
