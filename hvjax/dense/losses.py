"""The losses of Mask R-CNN, in float32, as means over what was sampled.

Ren et al., arXiv 1506.01497, section 3.1.2, and He et al., arXiv 1703.06870, section 3; the L1 loss and the
divisors are those of mmdetection. Under `jit` with a sharded batch the means are those of the global batch;
inside `shard_map`, `pmap` or `vmap` they are those of the shard.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

Scalar = Float[Array, ""]


def binary_cross_entropy(logits: Float[Array, "*n"], wanted: Bool[Array, "*n"]) -> Float[Array, "*n"]:
    """-log of the probability that the sigmoid of each logit gives to `wanted`."""
    logits = logits.astype(jnp.float32)
    return jax.nn.softplus(jnp.where(wanted, -logits, logits))


def cross_entropy(logits: Float[Array, "*n k"], labels: Int[Array, "*n"]) -> Float[Array, "*n"]:
    """-log of the probability that the softmax of the logits gives to each label, in [0, k)."""
    logits = logits.astype(jnp.float32)
    chosen = jnp.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
    return jax.nn.logsumexp(logits, axis=-1) - chosen


def objectness_loss(
    logits: Float[Array, "b s"], positive: Bool[Array, "b s"], taken: Bool[Array, "b s"]
) -> Scalar:
    """Binary cross entropy of "an object is here", over the sampled anchors."""
    return _share(binary_cross_entropy(logits, positive), taken, taken.sum())


def box_loss(
    moves: Float[Array, "b s 4"],
    wanted: Float[Array, "b s 4"],
    positive: Bool[Array, "b s"],
    taken: Bool[Array, "b s"],
) -> Scalar:
    """Sum of |moves - wanted| over boxes of objects, divided by the number of all sampled boxes.

    By all, so that an image with few objects weighs less, not each of its objects more.
    """
    wanted = jnp.where(positive[..., None], wanted, 0.0)  # of the others it may be anything
    distance = jnp.abs(moves.astype(jnp.float32) - wanted).sum(axis=-1)
    return _share(distance, positive, taken.sum())


def class_loss(logits: Float[Array, "b s k"], labels: Int[Array, "b s"], taken: Bool[Array, "b s"]) -> Scalar:
    """Cross entropy over the sampled proposals; the last class is the background."""
    return _share(cross_entropy(logits, labels), taken, taken.sum())


def mask_loss(
    logits: Float[Array, "b p h w"], wanted: Bool[Array, "b p h w"], positive: Bool[Array, "b p"]
) -> Scalar:
    """Binary cross entropy of the mask of each box's own class, over all cells of the boxes of objects."""
    each = binary_cross_entropy(logits, wanted).mean(axis=(-2, -1))
    return _share(each, positive, positive.sum())


def _share(values: Array, chosen: Array, count: Array) -> Scalar:
    """Sum of the chosen values by `count`; 0 where nothing is."""
    return jnp.where(chosen, values, 0.0).sum() / jnp.maximum(count, 1)
