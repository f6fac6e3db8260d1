"""Suppression against the greedy algorithm written out, and against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvjax.dense.boxes import pairwise_iou
from hvjax.dense.nms import nms, suppress

COUNT = 24
_suppress = jax.jit(suppress, static_argnums=2)


def _greedy(
    boxes: np.ndarray,
    scores: np.ndarray,
    threshold: float,
    valid: np.ndarray | None = None,
    groups: np.ndarray | None = None,
) -> np.ndarray:
    """From the best box to the worst: it stays unless it overlaps one that stayed."""
    valid = np.ones(len(scores), bool) if valid is None else valid
    groups = np.zeros(len(scores), int) if groups is None else groups
    overlap = np.asarray(pairwise_iou(boxes, boxes))
    stays = np.zeros(len(scores), bool)
    for index in np.argsort(-scores, kind="stable"):
        rivals = stays & (groups == groups[index])
        stays[index] = valid[index] and not (overlap[index] > threshold)[rivals].any()
    return stays


def _chain(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes each of which overlaps its two neighbours by a third, from the best to the worst."""
    left = np.arange(count, dtype=np.float32) * 5
    boxes = np.stack([left, 0 * left, left + 10, 0 * left + 10], -1)
    return boxes, np.linspace(1, 0.1, count, dtype=np.float32)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0]))
def test_as_the_greedy_algorithm(seed: int, threshold: float) -> None:
    """Crowded boxes on whole pixels, scores with many ties, padding and groups."""
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 12, (COUNT, 2))
    boxes = np.concatenate([corners, corners + rng.integers(1, 12, (COUNT, 2))], -1).astype(np.float32)
    scores = rng.integers(0, 8, COUNT).astype(np.float32) / 8
    valid, groups = rng.random(COUNT) < 0.8, rng.integers(0, 3, COUNT)
    # a pair that overlaps exactly by the threshold may fall on either side of it, by rounding
    overlap = np.asarray(pairwise_iou(boxes, boxes))
    if (np.abs(overlap - threshold) < 1e-6)[~np.eye(COUNT, dtype=bool)].any() and 0 < threshold < 1:
        threshold += 1e-3
    alone = _suppress(boxes, scores, threshold)
    np.testing.assert_array_equal(alone, _greedy(boxes, scores, threshold))
    both = _suppress(boxes, scores, threshold, valid=valid, groups=groups)
    np.testing.assert_array_equal(both, _greedy(boxes, scores, threshold, valid, groups))


@pytest.mark.parametrize("count", [1, 2, 3, 40])
def test_every_second_box_of_a_chain_stays(count: int) -> None:
    boxes, scores = _chain(count)
    np.testing.assert_array_equal(suppress(boxes, scores, 0.3), np.arange(count) % 2 == 0)


def test_thresholds_at_the_ends() -> None:
    boxes = jnp.array([[0, 0, 4, 4], [0, 0, 4, 4], [4, 0, 8, 4], [3, 0, 8, 4.0]])
    scores = jnp.array([0.9, 0.8, 0.7, 0.6])
    assert suppress(boxes, scores, 1.0).tolist() == [True] * 4  # even the twin
    assert suppress(boxes, scores, 0.0).tolist() == [True, False, True, False]  # neighbours touch only


def test_of_equal_scores_the_first_stays() -> None:
    boxes = jnp.broadcast_to(jnp.array([0, 0, 4, 4.0]), (3, 4))
    assert suppress(boxes, jnp.array([0.5, 0.7, 0.7]), 0.5).tolist() == [False, True, False]


def test_what_pads_the_list_removes_nothing() -> None:
    boxes = jnp.broadcast_to(jnp.array([0, 0, 4, 4.0]), (2, 4))
    stays = suppress(boxes, jnp.array([0.9, 0.1]), 0.5, valid=jnp.array([False, True]))
    assert stays.tolist() == [False, True]


def test_images_of_a_batch_do_not_meet(draw_boxes: Callable[..., np.ndarray]) -> None:
    rng = np.random.default_rng(0)
    boxes = draw_boxes(rng, 2, 3, COUNT, most=40)
    scores = rng.random((2, 3, COUNT)).astype(np.float32)
    together = np.asarray(suppress(boxes, scores, 0.3))
    for place in np.ndindex(2, 3):
        np.testing.assert_array_equal(together[place], _greedy(boxes[place], scores[place], 0.3))
    assert 0 < together.sum() < together.size


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("seed", range(4))
def test_as_onnx_runtime(
    threshold: float,
    seed: int,
    draw_boxes: Callable[..., np.ndarray],
    onnx_operator: Callable[..., np.ndarray],
) -> None:
    """Its NonMaxSuppression, which keeps the classes apart; ours as groups."""
    rng, classes, images = np.random.default_rng(seed), 3, 2
    boxes = draw_boxes(rng, images, 60, size=(32, 40), least=10, most=30)
    scores = rng.permutation(images * classes * 60).reshape(images, classes, 60).astype(np.float32) / 360
    limit = np.array([60], np.int64)
    found = onnx_operator(
        "NonMaxSuppression",
        boxes[..., [1, 0, 3, 2]],
        scores,
        limit,
        np.array([threshold], np.float32),
        np.array([0.25], np.float32),
    )
    expected = np.zeros(scores.shape, bool)
    expected[tuple(found.T)] = True
    # (b, classes * n): the same boxes in every class
    every = np.broadcast_to(boxes[:, None], (images, classes, 60, 4)).reshape(images, -1, 4)
    flat = scores.reshape(images, -1)
    groups = np.broadcast_to(np.repeat(np.arange(classes), 60), flat.shape)
    stays = suppress(every, flat, threshold, valid=jnp.array(flat > 0.25), groups=jnp.array(groups))
    np.testing.assert_array_equal(np.asarray(stays).reshape(scores.shape), expected)
    assert 0 < expected.sum() < (scores > 0.25).sum()
    # and in the same order
    indices, kept = nms(every, flat, threshold, 50, valid=jnp.array(flat > 0.25), groups=jnp.array(groups))
    for image in range(images):
        mine = np.asarray(indices[image])[np.asarray(kept[image])]
        best = np.argsort(-np.where(expected[image].reshape(-1), flat[image], -1))[: len(mine)]
        np.testing.assert_array_equal(mine, best)
        assert len(mine) == min(50, expected[image].sum())


def test_the_best_come_first() -> None:
    boxes = jnp.array([[0, 0, 4, 4], [9, 9, 12, 12], [0, 0, 4, 4], [20, 20, 24, 24.0]])
    scores = jnp.array([0.2, 0.7, 0.9, 0.7])
    indices, found = nms(boxes, scores, 0.5, 2)
    assert indices.tolist() == [2, 1] and found.tolist() == [True, True]


def test_fewer_than_asked_for() -> None:
    boxes = jnp.array([[[0, 0, 4, 4], [0, 0, 4, 4], [9, 9, 12, 12.0]]])
    indices, found = nms(boxes, jnp.array([[0.2, 0.9, -3.0]]), 0.5, 5)
    assert found.tolist() == [[True, True, False, False, False]]
    assert indices.shape == (1, 5) and indices.dtype == jnp.int32
    assert indices[0, :2].tolist() == [1, 2] and bool((indices < 3).all())


def test_nothing_stays_of_nothing() -> None:
    indices, found = nms(jnp.zeros((3, 4)), jnp.zeros(3), 0.5, 2, valid=jnp.zeros(3, bool))
    assert found.tolist() == [False, False] and bool((indices < 3).all())


def test_scores_in_half_precision_are_ordered_in_float32() -> None:
    boxes = jnp.array([[1000.25, 0, 1004.25, 4], [1000.5, 0, 1004.5, 4]])
    scores = jnp.array([0.5, 0.75], jnp.bfloat16)
    assert suppress(boxes, scores, 0.87).tolist() == [False, True]  # 3.75 * 4 of 17, 0.882
    assert suppress(boxes, scores, 0.9).tolist() == [True, True]


def test_gradients_pass_by() -> None:
    boxes, scores = map(jnp.array, _chain(6))

    @jax.jit
    def loss(boxes: jax.Array, scores: jax.Array) -> jax.Array:
        indices, found = nms(boxes, scores, 0.3, 4)
        return jnp.sum(scores[indices] * found)

    by_box, by_score = jax.grad(loss, argnums=(0, 1))(boxes, scores)
    np.testing.assert_array_equal(by_box, np.zeros((6, 4)))
    np.testing.assert_array_equal(by_score, [1, 0, 1, 0, 1, 0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (partial(nms, threshold=1.5, count=2), "threshold=1.5"),
        (partial(nms, threshold=-0.1, count=2), "threshold=-0.1"),
        (partial(nms, threshold=0.5, count=0), "count=0"),
    ],
)
def test_mistakes(call: Callable, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(jnp.zeros((3, 4)), jnp.zeros(3))
