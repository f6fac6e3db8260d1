"""Parts of Next-ViT that its ablations exchange: norms, activations, and blocks in the place of the NCB.

The ablation study of the paper (arXiv 2207.05501) compares these blocks; how it built them into the network
was not found. Here each stands behind the patch embedding of the NCB and has its residual connections inside;
the hidden channels of the MLPs are those of the config. See docs/next_vit_ablations.md.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
from flax import linen as nn
from jaxtyping import Array, Float

from hvjax.blocks.batch_norm import Affine, BatchNorm
from hvjax.blocks.bottleneck import EXPANSION, Bottleneck
from hvjax.blocks.form import Form
from hvjax.blocks.layer_norm import LayerNorm
from hvjax.blocks.layers import Conv, ConvNorm, Dense, DropPath, LayerScale
from hvjax.blocks.mix_block import Transformer
from hvjax.blocks.mlp import ConvMlp, Mlp
from hvjax.models.next_vit_config import CONVOLUTION, NextViTConfig
from hvjax.ops.activation import gelu
from hvjax.ops.attention import windowed_attention
from hvjax.ops.pooling import avg_pool2d
from hvjax.ops.windows import Windows

FeatureMap = Float[Array, "b h w c"]

EPSILON = 1e-5  # of the layer norms that stand for Next-ViT's batch norms, and of the Transformer blocks
CONVNEXT_EPSILON, CONVNEXT_SCALE = 1e-6, 1e-6  # facebookresearch/ConvNeXt models/convnext.py
POOL_SCALE = 1e-5  # sail-sg/poolformer models/poolformer.py


def activation(config: NextViTConfig) -> Callable[[Array], Array]:
    """ReLU or exact GELU."""
    return jax.nn.relu if config.activation == "relu" else gelu


def normalize(x: Array, config: NextViTConfig, form: Form, name: str, train: bool) -> Array:
    """Child `name` of the calling block: a norm over the last axis; nothing where it has been folded."""
    if config.norm == "layer":
        return LayerNorm(x.shape[-1], EPSILON, form, name=name)(x)
    return x if form.deploy else BatchNorm(x.shape[-1], form=form, name=name)(x, train=train)


def stage_norm(x: Array, config: NextViTConfig, form: Form, name: str, train: bool) -> Array:
    """As `normalize`, of a map that several layers read; folded into none of them."""
    if form.deploy and config.norm == "batch":
        return Affine(x.shape[-1], form, name=name)(x)
    return normalize(x, config, form, name, train)


class ConvLayerNorm(nn.Module):
    """Convolution without bias, then layer norm over the channels, in both forms."""

    in_features: int
    features: int
    kernel_size: int = 1
    stride: int = 1
    padding: int = 0
    form: Form = Form()

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> FeatureMap:
        geometry = (self.in_features, self.features, self.kernel_size, self.stride, self.padding)
        x = Conv(*geometry, use_bias=False, form=self.form, name="conv")(x)
        return LayerNorm(self.features, EPSILON, self.form, name="norm")(x)


def conv_norm(config: NextViTConfig, form: Form, name: str, *geometry: int) -> ConvNorm | ConvLayerNorm:
    """Convolution and norm of the config's kind; `geometry` as the first fields of `ConvNorm`."""
    kind = ConvLayerNorm if config.norm == "layer" else ConvNorm
    return kind(*geometry, form=form, name=name)


def patch_embed(
    x: FeatureMap, config: NextViTConfig, after: int, stride: int, form: Form, train: bool
) -> FeatureMap:
    """Child `patch_embed` of the block: 2x2 mean, 1x1 convolution, norm; identity if nothing changes.

    The mean belongs to stride 2. Where an odd map leaves a partial window, it is that of its real pixels.
    """
    before = x.shape[-1]
    if stride == 2:
        x = avg_pool2d(x, 2, 2, ceil_mode=True)
    elif before == after:
        return x
    return conv_norm(config, form, "patch_embed", before, after)(x, train=train)


class OtherConvBlock(nn.Module):
    """Child `patch_embed`, and the block of `config.conv_block`, a child of that name.

    Attributes: features, channels of the block; stride, 1 or 2; reduction, of the attention of "transformer";
    drop_path, rate of its branches.
    """

    config: NextViTConfig
    features: int
    stride: int
    reduction: int
    drop_path: float
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> FeatureMap:
        config, c, kind = self.config, self.features, self.config.conv_block
        x = patch_embed(x, config, c, self.stride, self.form, train)
        last = (self.drop_path, self.form)
        hidden = config.hidden(CONVOLUTION, c)
        if kind == "bottleneck":
            block = Bottleneck(c, c // EXPANSION, 1, False, *last, name=kind)
        elif kind == "convnext":
            block = ConvNeXtBlock(c, hidden, *last, name=kind)
        elif kind == "transformer":
            block = Transformer(c, config.head_dim, hidden, self.reduction, EPSILON, *last, name=kind)
        elif kind == "pool":
            block = PoolBlock(config, c, *last, name=kind)
        else:
            block = WindowBlock(c, config.head_dim, hidden, config.window, *last, name=kind)
        return block(x, train=train)


class ConvNeXtBlock(nn.Module):
    """7x7 depthwise convolution, layer norm, MLP with GELU, layer scale (arXiv 2201.03545, figure 4).

    In deploy form `layer_scale` is inside `mlp.fc2`.
    """

    features: int
    hidden: int
    drop_path: float
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> FeatureMap:
        c, form = self.features, self.form
        branch = Conv(c, c, 7, 1, 3, c, form=form, name="conv")(x)
        branch = LayerNorm(c, CONVNEXT_EPSILON, form, name="norm")(branch)
        branch = Mlp(c, self.hidden, form, name="mlp")(branch)
        if not form.deploy:
            branch = LayerScale(c, CONVNEXT_SCALE, form, name="layer_scale")(branch)
        return x + DropPath(self.drop_path, name="drop")(branch, train=train)


class WindowBlock(nn.Module):
    """LSA of Twins (arXiv 2104.13840, section 3.2): attention inside windows, MLP, layer norms before both.

    Maps are completed with zeros to whole windows; a window is never larger than the map. As in Twins there
    is no table of positions. Children `norm1`, `qkv`, `proj`, `norm2`, `mlp`.
    """

    features: int
    head_dim: int
    hidden: int
    window: int
    drop_path: float
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> FeatureMap:
        c, form, (height, width) = self.features, self.form, x.shape[1:3]
        windows = Windows(height, width, (min(self.window, height), min(self.window, width)))
        y = windows.prepare(LayerNorm(c, EPSILON, form, name="norm1")(x))
        q, k, v = windows.split_heads(Dense(c, 3 * c, form, name="qkv")(y), 3, c // self.head_dim)
        y = windows.restore(windows.merge_heads(windowed_attention(q, k, v)))
        y = Dense(c, c, form, name="proj")(y)
        x = x + DropPath(self.drop_path, name="drop_attention")(y, train=train)
        y = LayerNorm(c, EPSILON, form, name="norm2")(x)
        y = Mlp(c, self.hidden, form, name="mlp")(y)
        return x + DropPath(self.drop_path, name="drop_mlp")(y, train=train)


class PoolBlock(nn.Module):
    """PoolFormer's block (arXiv 2111.11418, section 3.2) with the config's norm and activation.

    PoolFormer itself normalises by groups of one sample and has GELU. In deploy form batch norms are folded:
    a mean over real pixels minus the pixel loses a constant, so that of `norm1` only the scale is left, which
    `layer_scale1` takes; `norm2` and `layer_scale2` are inside the MLP.
    """

    config: NextViTConfig
    features: int
    drop_path: float
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> FeatureMap:
        config, c, form = self.config, self.features, self.form
        y = normalize(x, config, form, "norm1", train)
        y = LayerScale(c, POOL_SCALE, form, name="layer_scale1")(avg_pool2d(y, 3, 1, padding=1) - y)
        x = x + DropPath(self.drop_path, name="drop_pool")(y, train=train)
        y = normalize(x, config, form, "norm2", train)
        y = ConvMlp(c, config.hidden(CONVOLUTION, c), form, activation(config), name="mlp")(y)
        if not form.deploy:
            y = LayerScale(c, POOL_SCALE, form, name="layer_scale2")(y)
        return x + DropPath(self.drop_path, name="drop_mlp")(y, train=train)
