"""The last layer of segmenters, and a small head of its own that helps a larger one to learn."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from hvjax.blocks.form import Form
from hvjax.blocks.initializers import normal
from hvjax.blocks.layers import Conv, ConvNorm

FeatureMap = Float[Array, "b h w c"]

CLASSIFIER_INIT = normal(0.01)  # as mmsegmentation starts `conv_seg`


class Classify(nn.Module):
    """Scores of the classes at each position, float32: dropout of whole channels, 1x1 convolution `conv`.

    Attributes:
      features: channels of the map.
      classes: of the scores.
      dropout_rate: of whole channels, in training.
      form: how the network is built.
    """

    features: int
    classes: int
    dropout_rate: float
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> Float[Array, "b h w classes"]:
        dropout = nn.Dropout(self.dropout_rate, (1, 2), deterministic=not train, name="dropout")
        conv = Conv(self.features, self.classes, form=self.form, kernel_init=CLASSIFIER_INIT, name="conv")
        y = conv(dropout(x))
        return y.astype(jnp.promote_types(y.dtype, jnp.float32))


class FCNHead(nn.Module):
    """Head of a fully convolutional network (Long et al., arXiv 1411.4038): `conv`, 3x3, and `classify`.

    As mmsegmentation's `FCNHead` with one convolution and no concatenation, which UPerNet has beside its own
    head in training (Zhao et al., arXiv 1612.01105, section 3.3).

    Attributes:
      classes: of the scores.
      channels: inside.
      dropout_rate: of whole channels before the classes, in training.
      form: how the network is built.
    """

    classes: int
    channels: int
    dropout_rate: float
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> Float[Array, "b h w classes"]:
        x = ConvNorm(x.shape[-1], self.channels, 3, 1, 1, form=self.form, name="conv")(x, train=train)
        classify = Classify(self.channels, self.classes, self.dropout_rate, self.form, name="classify")
        return classify(jax.nn.relu(x), train=train)
