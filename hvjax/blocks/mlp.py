"""Multi-layer perceptrons on feature maps and on tokens."""

from __future__ import annotations

from collections.abc import Callable

import jax
from flax import linen as nn
from jaxtyping import Array, Float

from hvjax.blocks.form import Form
from hvjax.blocks.initializers import Initializer
from hvjax.blocks.layers import Conv, Dense
from hvjax.ops.activation import gelu


class ConvMlp(nn.Module):
    """1x1 convolution to `hidden` channels (`fc1`), activation, 1x1 convolution back (`fc2`), with biases."""

    features: int
    hidden: int
    form: Form = Form()
    activation: Callable[[Array], Array] = jax.nn.relu

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        x = Conv(self.features, self.hidden, form=self.form, name="fc1")(x)
        return Conv(self.hidden, self.features, form=self.form, name="fc2")(self.activation(x))


class Mlp(nn.Module):
    """Dense layer to `hidden` channels (`fc1`), exact GELU, dense layer back (`fc2`), over the last axis."""

    features: int
    hidden: int
    form: Form = Form()
    kernel_init: Initializer | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "*batch c"]) -> Float[Array, "*batch c"]:
        x = Dense(self.features, self.hidden, self.form, self.kernel_init, name="fc1")(x)
        return Dense(self.hidden, self.features, self.form, self.kernel_init, name="fc2")(gelu(x))
