"""Multi-layer perceptrons on feature maps."""

from __future__ import annotations

import jax
from flax import linen as nn
from jaxtyping import Array, Float

from hvjax.blocks.form import Form
from hvjax.blocks.layers import Conv


class ConvMlp(nn.Module):
    """1x1 convolution to `hidden` channels (`fc1`), ReLU, 1x1 convolution back (`fc2`), with biases."""

    features: int
    hidden: int
    form: Form = Form()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        x = Conv(self.features, self.hidden, form=self.form, name="fc1")(x)
        return Conv(self.hidden, self.features, form=self.form, name="fc2")(jax.nn.relu(x))
