"""Normalisation of each image by its own statistics."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from hvjax.blocks.form import Form
from hvjax.ops.normalize import group_norm


class GroupNorm(nn.Module):
    """Group normalisation with one group, over (h, w, c) (arXiv 1803.08494); parameters `scale` and `bias`.

    Scale and shift are per channel. Statistics are taken in at least float32; the result has type
    `form.dtype`.
    """

    features: int
    epsilon: float
    form: Form = Form()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        scale = self.param("scale", nn.initializers.ones, (self.features,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        return group_norm(x, scale, bias, self.epsilon).astype(self.form.dtype)
