"""Channel attention from the mean of the map."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from hvjax.blocks.form import Form
from hvjax.blocks.initializers import uniform_within
from hvjax.blocks.layers import Conv
from hvjax.ops.pooling import global_avg_pool


class SqueezeExcite(nn.Module):
    """Weigh each channel by `sigmoid(fc2(relu(fc1(mean over the map))))` (Hu et al., arXiv 1709.01507).

    `fc1` and `fc2` are 1x1 convolutions with bias, kernels (1, 1, c, hidden) and (1, 1, hidden, c). Nothing
    here can be fused, so that both forms are the same. The biases start at zero, or with `uniform_bias` as
    PyTorch's, uniform within 1 / sqrt(channels before).

    The weights are computed in at least float32, from the mean on: one number a channel costs nothing, and
    TensorRT for RTX makes 134 kernels of a float16 RegNetY-16GF instead of 162 with float16 in between.
    """

    features: int
    hidden: int
    form: Form = Form()
    uniform_bias: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        wide = jnp.promote_types(x.dtype, jnp.float32)
        mean = global_avg_pool(x.astype(wide))[:, None, None, :]
        hidden = jax.nn.relu(self._conv(self.features, self.hidden, "fc1")(mean))
        weights = jax.nn.sigmoid(self._conv(self.hidden, self.features, "fc2")(hidden))
        return x * weights.astype(x.dtype)

    def _conv(self, before: int, after: int, name: str) -> Conv:
        bias = uniform_within(before**-0.5) if self.uniform_bias else nn.initializers.zeros
        form = replace(self.form, dtype=jnp.promote_types(self.form.dtype, jnp.float32))
        return Conv(before, after, form=form, bias_init=bias, name=name)
