"""Activation functions that `jax.nn` has in another form than the reference implementations."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


def gelu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """`x * Phi(x)` with the normal distribution function (arXiv 1606.08415), by erf, not the tanh form.

    Written by erf, where `jax.nn.gelu(approximate=False)` uses erfc, so that every version of JAX hands the
    exporter the same operations, which become one Gelu node.
    """
    half, root = jnp.asarray(0.5, x.dtype), jnp.asarray(0.5**0.5, x.dtype)
    return half * x * (1 + lax.erf(x * root))
