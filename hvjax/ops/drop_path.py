"""Stochastic depth (Huang et al., arXiv 1603.09382), drawn per sample."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def drop_path(x: Float[Array, "b ..."], rate: float, key: Array) -> Float[Array, "b ..."]:
    """Zero the whole branch of a sample with probability `rate`; scale the kept ones by 1 / (1 - rate).

    Args:
      x: output of a residual branch, samples first.
      rate: probability of dropping, 0 <= rate < 1.
      key: a PRNG key used for nothing else.

    Raises:
      ValueError: if `rate` is out of range.
    """
    if not 0.0 <= rate < 1.0:
        raise ValueError(f"rate={rate}: expected 0 <= rate < 1")
    if rate == 0.0:
        return x
    keep = 1.0 - rate
    kept = jax.random.bernoulli(key, keep, (x.shape[0],) + (1,) * (x.ndim - 1))
    return x * kept.astype(x.dtype) * jnp.asarray(1.0 / keep, x.dtype)
