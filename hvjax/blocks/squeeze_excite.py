"""Channel attention from the mean of the map."""

from __future__ import annotations

import jax
from flax import linen as nn
from jaxtyping import Array, Float

from hvjax.blocks.form import Form
from hvjax.blocks.initializers import uniform_within
from hvjax.blocks.layers import Conv
from hvjax.ops.pooling import global_avg_pool


class SqueezeExcite(nn.Module):
    """Weigh each channel by `sigmoid(fc2(relu(fc1(mean over the map))))` (Hu et al., arXiv 1709.01507).

    `fc1` and `fc2` are 1x1 convolutions with bias, kernels (1, 1, c, hidden) and (1, 1, hidden, c). The mean
    is accumulated in float32; nothing here can be fused, so that both forms are the same. The biases start at
    zero, or with `uniform_bias` as PyTorch's, uniform within 1 / sqrt(channels before).
    """

    features: int
    hidden: int
    form: Form = Form()
    uniform_bias: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        mean = global_avg_pool(x)[:, None, None, :]
        hidden = jax.nn.relu(self._conv(self.features, self.hidden, "fc1")(mean))
        return x * jax.nn.sigmoid(self._conv(self.hidden, self.features, "fc2")(hidden))

    def _conv(self, before: int, after: int, name: str) -> Conv:
        bias = uniform_within(before**-0.5) if self.uniform_bias else nn.initializers.zeros
        return Conv(before, after, form=self.form, bias_init=bias, name=name)
