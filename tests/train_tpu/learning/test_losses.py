"""Losses and accuracies against plain numpy."""

import jax
import numpy as np
import pytest

from train_tpu.learning.losses import binary_cross_entropy, in_top_k, smoothed_cross_entropy

FLOAT32 = 1e-6  # sums of ten float32 terms against float64

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(6, 10)).astype(np.float32) * 3
LABELS = RNG.integers(0, 10, size=6).astype(np.int32)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_smoothed_cross_entropy(smoothing: float) -> None:
    target = np.full((6, 10), smoothing / 10)
    target[np.arange(6), LABELS] += 1 - smoothing
    logits = LOGITS.astype(np.float64)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = -(target * log_p).sum(-1)
    loss = smoothed_cross_entropy(LOGITS, LABELS, smoothing)
    np.testing.assert_allclose(loss, expected, rtol=FLOAT32)


def test_loss_of_large_logits_is_finite() -> None:
    loss = smoothed_cross_entropy(LOGITS * 1e4, LABELS, 0.1)
    assert np.isfinite(loss).all()


@pytest.mark.parametrize("k", [1, 5])
def test_in_top_k(k: int) -> None:
    best = np.argsort(-LOGITS, axis=-1)[:, :k]
    expected = (best == LABELS[:, None]).any(-1)
    np.testing.assert_array_equal(in_top_k(LOGITS, LABELS, k), expected.astype(np.float32))


def test_constant_or_nan_logits_are_never_right() -> None:
    for value in (0.0, np.nan):
        assert not np.any(in_top_k(np.full((6, 10), value, np.float32), LABELS, 5))


@pytest.mark.parametrize("threshold", [0.0, 0.2])
def test_binary_cross_entropy_of_large_logits_is_finite(threshold: float) -> None:
    """Also its gradient; the values at ordinary logits are timm's (test_timm_augmentation.py)."""
    targets = np.eye(10, dtype=np.float32)[LABELS] * 0.9 + 0.01
    loss, gradient = jax.value_and_grad(lambda x: binary_cross_entropy(x, targets, threshold).sum())(
        LOGITS * 1e4
    )
    assert np.isfinite(loss) and np.isfinite(gradient).all()
