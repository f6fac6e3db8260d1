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
    logits: Float[Array, "b classes"],
    targets: Float[Array, "b classes"],
    class_weights: Float[Array, "classes"] | None = None,
) -> Float[Array, "b"]:
    """-sum(weights * targets * log_softmax(logits)) per example, in float32.

    timm's SoftTargetCrossEntropy; with weights torch's cross_entropy of probabilities as targets, whose mean
    is over the examples and not over their weights.
    """
    weighted = targets if class_weights is None else targets * class_weights
    return -(weighted * jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)).sum(-1)


def binary_cross_entropy(
    logits: Float[Array, "b classes"],
    targets: Float[Array, "b classes"],
    threshold: float = 0.0,
    class_weights: Float[Array, "classes"] | None = None,
) -> Float[Array, "b"]:
    """Mean over the classes of each class's own yes-or-no cross-entropy, per example, in float32.

    timm's BinaryCrossEntropy (Wightman et al. 2021, arXiv 2110.00476): with threshold > 0 the targets above
    it become 1 and the others 0, so that both classes of a mixed image are asked for in full.
    """
    logits = logits.astype(jnp.float32)
    if threshold > 0:
        targets = (targets > threshold).astype(jnp.float32)
    rows = jnp.maximum(logits, 0) - logits * targets + jnp.log1p(jnp.exp(-jnp.abs(logits)))
    return (rows if class_weights is None else rows * class_weights).mean(-1)


def distillation_loss(
    logits: Float[Array, "b classes"],
    teacher_logits: Float[Array, "b classes"],
    kind: str,
    temperature: float,
) -> Float[Array, "b"]:
    """The teacher's part of the loss per example, in float32.

    "hard": cross-entropy with the teacher's best class (DeiT, equation 3). "soft": temperature^2 times the
    Kullback-Leibler divergence from the teacher's distribution to the student's, both at the temperature
    (equation 2), summed over the classes. DeiT's released code divides "soft" by the number of classes as
    well, which the paper does not.
    """
    if kind == "hard":
        return smoothed_cross_entropy(logits, teacher_logits.argmax(-1), 0.0)
    student = jax.nn.log_softmax(logits.astype(jnp.float32) / temperature, axis=-1)
    teacher = jax.nn.log_softmax(teacher_logits.astype(jnp.float32) / temperature, axis=-1)
    return temperature**2 * (jnp.exp(teacher) * (teacher - student)).sum(-1)


def in_top_k(logits: Float[Array, "b classes"], labels: Int[Array, "b"], k: int) -> Float[Array, "b"]:
    """1.0 where fewer than k classes score higher than the label; ties count against the label.

    With ties against it, constant logits score 0 and not 1; a row with a NaN scores 0.
    """
    true = jnp.take_along_axis(logits, labels[:, None], axis=-1)
    others = jnp.arange(logits.shape[-1])[None] != labels[:, None]
    ahead = jnp.sum(others & ~(logits < true), axis=-1)
    return (ahead < k).astype(jnp.float32)
