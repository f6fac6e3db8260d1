"""ResNet's BottleNeck block (He et al., arXiv 1512.03385, figure 5), the stride on the 3x3 convolution."""

from __future__ import annotations

import jax
from flax import linen as nn
from jaxtyping import Array, Float

from hvjax.blocks.batch_norm import BatchNorm
from hvjax.blocks.form import Form
from hvjax.blocks.layers import Conv, ConvNorm, DropPath

FeatureMap = Float[Array, "b h w c"]

EXPANSION = 4  # output channels of a bottleneck over its inner width


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolution with norms, added to the input or its projection. Children `conv1`,
    `norm1`, ...

    Attributes: in_features, channels before; width, inner channels; stride, 1 or 2; project, whether the
    shortcut is a convolution (`shortcut`) instead of the identity; drop_path, rate of the branch.
    """

    in_features: int
    width: int
    stride: int
    project: bool
    drop_path: float
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> FeatureMap:
        width, out, form = self.width, EXPANSION * self.width, self.form
        y = Conv(self.in_features, width, use_bias=form.deploy, form=form, name="conv1")(x)
        y = jax.nn.relu(self._norm(y, width, "norm1", train))
        y = Conv(width, width, 3, self.stride, 1, use_bias=form.deploy, form=form, name="conv2")(y)
        y = jax.nn.relu(self._norm(y, width, "norm2", train))
        y = Conv(width, out, use_bias=form.deploy, form=form, name="conv3")(y)
        y = self._norm(y, out, "norm3", train)
        if self.project:
            shortcut = ConvNorm(self.in_features, out, stride=self.stride, form=form, name="shortcut")
            x = shortcut(x, train=train)
        return jax.nn.relu(x + DropPath(self.drop_path, name="drop")(y, train=train))

    def _norm(self, x: FeatureMap, features: int, name: str, train: bool) -> FeatureMap:
        if self.form.deploy:
            return x
        # The last norm starts at zero, so that each block starts as its shortcut (arXiv 1706.02677, section
        # 5.1).
        scale_init = nn.initializers.zeros if name == "norm3" else nn.initializers.ones
        return BatchNorm(features, form=self.form, scale_init=scale_init, name=name)(x, train=train)
