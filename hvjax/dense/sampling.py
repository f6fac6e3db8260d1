"""A random sample of boxes for a loss, so that the background does not outweigh the objects.

Girshick, arXiv 1504.08083, section 2.3 (Fast R-CNN) and Ren et al., arXiv 1506.01497, section 3.1.3, with the
rules of mmdetection's RandomSampler.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Int


class Sample(NamedTuple):
    """Boxes that were drawn: those of objects first, then background, then places that stay empty.

    Attributes:
      index: which box is in each place; always one that can be read.
      positive: places of boxes of objects.
      taken: places that hold a box at all.
    """

    index: Int[Array, "b s"]
    positive: Bool[Array, "b s"]
    taken: Bool[Array, "b s"]


def sample(
    key: Array, positive: Bool[Array, "b n"], negative: Bool[Array, "b n"], count: int, positives: int
) -> Sample:
    """Draw up to `count` of the n boxes of each image, all equally likely: up to `positives` of objects, and
    background for the rest.

    Args:
      key: for this batch; each image draws its own numbers.
      positive, negative: which boxes are of objects, and which are background; the others are not drawn.
      count: places of the result, or n if there are fewer boxes.
      positives: only the first so many places ever hold boxes of objects.

    Raises:
      ValueError: unless 1 <= positives <= count.
    """
    if not 1 <= positives <= count:
        raise ValueError(f"count={count}, positives={positives}: expected 1 <= positives <= count")
    n = positive.shape[-1]
    luck = jax.random.uniform(key, positive.shape)
    objects, index = lax.top_k(jnp.where(positive, luck, -1.0), min(positives, n))
    others, other_index = lax.top_k(jnp.where(negative, luck, -1.0), min(count, n))
    rank = jnp.concatenate([jnp.where(objects >= 0, 2, 0), jnp.where(others >= 0, 1, 0)], axis=-1)
    # of equal ranks the first come first, so this puts the list in order and keeps it random
    rank, order = lax.top_k(rank, min(count, n))
    index = jnp.take_along_axis(jnp.concatenate([index, other_index], axis=-1), order, axis=-1)
    return Sample(index, rank == 2, rank > 0)
