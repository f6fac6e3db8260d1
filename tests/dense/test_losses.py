"""The losses of Mask R-CNN against their formulas in NumPy, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hvjax.dense.losses import box_loss, class_loss, mask_loss, objectness_loss

B, S, K = 2, 6, 5
ROUNDING = 1e-5  # float32 against float64, relative


@pytest.fixture
def random():
    return np.random.default_rng(0)


@pytest.fixture
def places():
    """Places of objects, and places that hold a box at all."""
    positive = np.array([[1, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]], bool)
    taken = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]], bool)
    return positive, taken


def probability(x):
    return 1 / (1 + np.exp(-x))


def test_objectness(random, places):
    positive, taken = places
    logits = random.normal(0, 3, (B, S)).astype(np.float32)
    p = probability(logits.astype(np.float64))
    plain = [-np.log(p[i] if positive[i] else 1 - p[i]) for i in np.ndindex(B, S) if taken[i]]
    np.testing.assert_allclose(objectness_loss(logits, positive, taken), np.mean(plain), rtol=ROUNDING)


def test_boxes_are_divided_by_all_that_was_sampled(random, places):
    positive, taken = places
    moves, wanted = random.normal(size=(2, B, S, 4)).astype(np.float32)
    wanted[~positive] = np.nan  # of background nothing is wanted
    plain = sum(np.abs(moves[i] - wanted[i]).sum() for i in np.ndindex(B, S) if positive[i]) / taken.sum()
    np.testing.assert_allclose(box_loss(moves, wanted, positive, taken), plain, rtol=ROUNDING)
    gradient = jax.grad(box_loss)(moves, wanted, positive, taken)
    assert np.isfinite(gradient).all() and not gradient[~positive].any()


def test_classes(random, places):
    _, taken = places
    logits = random.normal(0, 3, (B, S, K)).astype(np.float32)
    labels = random.integers(0, K, (B, S))
    e = np.exp(logits.astype(np.float64))
    p = e / e.sum(-1, keepdims=True)
    plain = [-np.log(p[i][labels[i]]) for i in np.ndindex(B, S) if taken[i]]
    np.testing.assert_allclose(class_loss(logits, labels, taken), np.mean(plain), rtol=ROUNDING)


def test_masks(random, places):
    positive, _ = places
    logits = random.normal(0, 3, (B, S, 4, 4)).astype(np.float32)
    wanted = random.random((B, S, 4, 4)) < 0.5
    p = probability(logits.astype(np.float64))
    plain = [-np.log(np.where(wanted[i], p[i], 1 - p[i])).mean() for i in np.ndindex(B, S) if positive[i]]
    np.testing.assert_allclose(mask_loss(logits, wanted, positive), np.mean(plain), rtol=ROUNDING)


def test_nothing_sampled_costs_nothing():
    none, flat = np.zeros((B, S), bool), np.zeros((B, S), np.float32)
    assert objectness_loss(flat, none, none) == 0
    assert box_loss(np.zeros((B, S, 4)), np.zeros((B, S, 4)), none, none) == 0
    assert class_loss(np.zeros((B, S, K)), np.zeros((B, S), int), none) == 0
    assert mask_loss(np.zeros((B, S, 4, 4)), np.zeros((B, S, 4, 4), bool), none) == 0


def test_float32_whatever_the_type(places):
    positive, taken = places
    half = jnp.zeros((B, S), jnp.bfloat16)
    losses = [
        objectness_loss(half, positive, taken),
        box_loss(jnp.zeros((B, S, 4), jnp.bfloat16), np.ones((B, S, 4), np.float32), positive, taken),
        class_loss(jnp.zeros((B, S, K), jnp.bfloat16), np.zeros((B, S), np.int32), taken),
        mask_loss(jnp.zeros((B, S, 4, 4), jnp.bfloat16), np.ones((B, S, 4, 4), bool), positive),
    ]
    assert {loss.dtype for loss in losses} == {jnp.dtype(jnp.float32)}
    np.testing.assert_allclose(losses[0], np.log(2), rtol=ROUNDING)
    np.testing.assert_allclose(losses[2], np.log(K), rtol=ROUNDING)


def test_confident_and_wrong_is_finite(places):
    positive, taken = places
    wrong = np.where(positive, -1e4, 1e4).astype(np.float32)
    assert objectness_loss(wrong, positive, taken) == pytest.approx(1e4)
