"""Normalisation of each position by its own statistics."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from hvjax.blocks.form import Form
from hvjax.ops.normalize import layer_norm


class LayerNorm(nn.Module):
    """Layer normalisation over the last axis (arXiv 1607.06450); parameters `scale` and `bias`.

    Statistics are taken in at least float32; the result has type `form.dtype`. `epsilon` has no default: the
    reference implementations differ (1e-5 or 1e-6), also within one network.
    """

    features: int
    epsilon: float
    form: Form = Form()

    @nn.compact
    def __call__(self, x: Float[Array, "*batch c"]) -> Float[Array, "*batch c"]:
        scale = self.param("scale", nn.initializers.ones, (self.features,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        return layer_norm(x, scale, bias, self.epsilon).astype(self.form.dtype)
