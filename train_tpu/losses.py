"""Losses and accuracies, per example."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def smoothed_cross_entropy(
    logits: Float[Array, "b classes"], labels: Int[Array, "b"], smoothing: float
) -> Float[Array, "b"]:
    """Cross-entropy against (1 - smoothing) * one_hot + smoothing / classes, in float32.

    Szegedy et al. 2016 (arXiv 1512.00567), section 7: the smoothing mass is spread over all classes, the
    true one included, as in timm and torch.
    """
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)
    true = jnp.take_along_axis(log_p, labels[:, None], axis=-1)[:, 0]
    return -(1 - smoothing) * true - smoothing * log_p.mean(-1)


def soft_cross_entropy(
    logits: Float[Array, "b classes"], targets: Float[Array, "b classes"]
) -> Float[Array, "b"]:
    """-sum(targets * log_softmax(logits)) per example, in float32 (timm's SoftTargetCrossEntropy)."""
    return -(targets * jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)).sum(-1)


def in_top_k(logits: Float[Array, "b classes"], labels: Int[Array, "b"], k: int) -> Float[Array, "b"]:
    """1.0 where fewer than k classes score higher than the label; ties count against the label.

    With ties against it, constant logits score 0 and not 1; a row with a NaN scores 0.
    """
    true = jnp.take_along_axis(logits, labels[:, None], axis=-1)
    others = jnp.arange(logits.shape[-1])[None] != labels[:, None]
    ahead = jnp.sum(others & ~(logits < true), axis=-1)
    return (ahead < k).astype(jnp.float32)
