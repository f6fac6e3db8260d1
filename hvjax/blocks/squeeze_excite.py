"""Channel attention from the mean of the map."""

from __future__ import annotations

import jax
from flax import linen as nn
from jaxtyping import Array, Float

from hvjax.blocks.form import Form
from hvjax.blocks.layers import Conv
from hvjax.ops.pooling import global_avg_pool


class SqueezeExcite(nn.Module):
    """Weigh each channel by `sigmoid(fc2(relu(fc1(mean over the map))))` (Hu et al., arXiv 1709.01507).

    `fc1` and `fc2` are 1x1 convolutions with bias, kernels (1, 1, c, hidden) and (1, 1, hidden, c). The mean
    is accumulated in float32; nothing here can be fused, so that both forms are the same.
    """

    features: int
    hidden: int
    form: Form = Form()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        mean = global_avg_pool(x)[:, None, None, :]
        hidden = jax.nn.relu(Conv(self.features, self.hidden, form=self.form, name="fc1")(mean))
        return x * jax.nn.sigmoid(Conv(self.hidden, self.features, form=self.form, name="fc2")(hidden))
