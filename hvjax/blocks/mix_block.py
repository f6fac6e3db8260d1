"""Transformer block and the mixtures of Transformer and BottleNeck of TRT-ViT (arXiv 2205.09579, section 3).

The paper's figure of these blocks is not public as text, and no official code was found. Given are the order
of the parts, LN and GELU, MLP ratio 3 and head dimension 32 of the Transformer, BN and ReLU of the
BottleNeck, and the shrink ratio R = 0.5; the wiring around them is inferred (docs/trt_vit.md).
"""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from hvjax.blocks.attention import SelfAttention
from hvjax.blocks.bottleneck import EXPANSION, Bottleneck
from hvjax.blocks.form import Form
from hvjax.blocks.initializers import normal
from hvjax.blocks.layer_norm import LayerNorm
from hvjax.blocks.layers import ConvNorm, DropPath
from hvjax.blocks.mlp import Mlp
from hvjax.blocks.spatial_reduction import SpatialReductionAttention

FeatureMap = Float[Array, "b h w c"]

DENSE_INIT = normal(0.02)


class Transformer(nn.Module):
    """Pre-norm Transformer on the pixels of a map: attention, then MLP, each added to its input.

    Children `norm1`, `attn`, `norm2`, `mlp`. With `reduction` > 1 `attn` is a `SpatialReductionAttention`.

    Attributes: features, a multiple of head_dim; hidden, channels inside the MLP; drop_path, rate of both
    branches.
    """

    features: int
    head_dim: int
    hidden: int
    reduction: int
    epsilon: float
    drop_path: float
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> FeatureMap:
        c, form, (b, h, w, _) = self.features, self.form, x.shape
        tokens = x.reshape(b, h * w, c)
        y = LayerNorm(c, self.epsilon, form, name="norm1")(tokens)
        heads = c // self.head_dim
        if self.reduction == 1:
            y = SelfAttention(c, heads, form, kernel_init=DENSE_INIT, name="attn")(y)
        else:
            attention = SpatialReductionAttention(c, heads, self.reduction, form, DENSE_INIT, name="attn")
            y = attention(y, (h, w))
        tokens = tokens + DropPath(self.drop_path, name="drop_attn")(y, train=train)
        y = LayerNorm(c, self.epsilon, form, name="norm2")(tokens)
        y = Mlp(c, self.hidden, form, DENSE_INIT, name="mlp")(y)
        tokens = tokens + DropPath(self.drop_path, name="drop_mlp")(y, train=train)
        return tokens.reshape(b, h, w, c)


class MixBlock(nn.Module):
    """Transformer and BottleNeck in one block; their outputs stand side by side, the Transformer's first.

    `order` "A", in parallel: each part has its own projection of the input (`embed_global`,
    `embed_local`). "B", local then global: `embed`, `bottleneck`, `transformer` (after `widen`, a 1x1
    convolution, where their widths differ). "C", global then local: `embed`, `transformer`, `bottleneck`. A
    projection is a convolution with kernel = stride, and a batch norm, so that no pixel is skipped where the
    map is halved.

    Attributes: in_features; attended and convolved, channels that the Transformer and the BottleNeck make;
    stride, 1 or 2; head_dim, hidden, reduction, epsilon of the `Transformer`; outer_residual, whether the
    input is added to the output where stride is 1 and both have the same channels; drop_path, rate of each
    residual branch inside.
    """

    order: str
    in_features: int
    attended: int
    convolved: int
    stride: int
    head_dim: int
    hidden: int
    reduction: int
    epsilon: float
    outer_residual: bool
    drop_path: float
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> FeatureMap:
        g, c = self.attended, self.convolved
        if self.order == "A":
            attended = self._transformer(self._embed(x, g, "embed_global", train), train)
            convolved = self._bottleneck(self._embed(x, c, "embed_local", train), c, train)
        elif self.order == "B":
            convolved = self._bottleneck(self._embed(x, c, "embed", train), c, train)
            y = convolved if c == g else ConvNorm(c, g, form=self.form, name="widen")(convolved, train=train)
            attended = self._transformer(y, train)
        else:
            attended = self._transformer(self._embed(x, g, "embed", train), train)
            convolved = self._bottleneck(attended, g, train)
        y = jnp.concatenate([attended, convolved], axis=-1)
        return x + y if self.outer_residual and x.shape == y.shape else y

    def _embed(self, x: FeatureMap, features: int, name: str, train: bool) -> FeatureMap:
        return embed(x, features, self.stride, self.form, name, train)

    def _transformer(self, x: FeatureMap, train: bool) -> FeatureMap:
        transformer = Transformer(
            self.attended,
            self.head_dim,
            self.hidden,
            self.reduction,
            self.epsilon,
            self.drop_path,
            self.form,
            name="transformer",
        )
        return transformer(x, train=train)

    def _bottleneck(self, x: FeatureMap, before: int, train: bool) -> FeatureMap:
        width, project = self.convolved // EXPANSION, before != self.convolved
        block = Bottleneck(before, width, 1, project, self.drop_path, self.form, name="bottleneck")
        return block(x, train=train)


class TransformerBlock(nn.Module):
    """A `Transformer` as a block of a pyramid: `embed` where stride or channels change, `transformer`."""

    in_features: int
    features: int
    stride: int
    head_dim: int
    hidden: int
    reduction: int
    epsilon: float
    drop_path: float
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> FeatureMap:
        if self.stride > 1 or self.in_features != self.features:
            x = embed(x, self.features, self.stride, self.form, "embed", train)
        transformer = Transformer(
            self.features,
            self.head_dim,
            self.hidden,
            self.reduction,
            self.epsilon,
            self.drop_path,
            self.form,
            name="transformer",
        )
        return transformer(x, train=train)


def embed(x: FeatureMap, features: int, stride: int, form: Form, name: str, train: bool) -> FeatureMap:
    """Child `name` of the calling block: convolution with kernel = stride, and batch norm.

    A partial window at the bottom or right border is filled with zeros, so that maps have the size that
    ResNet's strided blocks give, ceil(size / stride).
    """
    below, right = (-side % stride for side in x.shape[1:3])
    if below or right:
        x = jnp.pad(x, ((0, 0), (0, below), (0, right), (0, 0)))
    return ConvNorm(x.shape[-1], features, stride, stride, form=form, name=name)(x, train=train)
