"""UniFormer (Li et al., arXiv 2201.09450): convolution in two shallow stages, attention in two deep ones.

Matched against the official code, Sense-X/UniFormer image_classification/models/uniformer.py at 52a0415e4e0d,
and for windowed attention object_detection/mmdet/models/backbones/uniformer.py.
"""

from __future__ import annotations

from itertools import accumulate

from flax import linen as nn
from jaxtyping import Array, Float

from hvjax.blocks.attention import SelfAttention
from hvjax.blocks.batch_norm import Affine, BatchNorm
from hvjax.blocks.form import Form
from hvjax.blocks.initializers import normal, uniform_fan_in, uniform_within
from hvjax.blocks.layer_norm import LayerNorm
from hvjax.blocks.layers import Conv, ConvNorm, Dense, DropPath, LayerScale
from hvjax.blocks.mlp import Mlp
from hvjax.models.features import Backbone, Features, check_images, drop_path_rates
from hvjax.models.uniformer_config import CONVOLUTION_STAGES, UniFormerConfig, check_size
from hvjax.ops.activation import gelu
from hvjax.ops.pooling import global_avg_pool
from hvjax.ops.windows import Windows

FeatureMap = Float[Array, "b h w c"]

# Layer norms: PyTorch's default in patch embeddings, the reference code's own value in blocks.
EPSILON_PATCHES, EPSILON_BLOCKS = 1e-5, 1e-6

# Convolutions start as PyTorch's do. The reference cuts the normal of linear layers off at +-2, which is 100
# deviations: not at all.
CONV_INIT, LINEAR_INIT = uniform_fan_in(), normal(0.02)


def conv(before: int, after: int, kernel_size: int, stride: int, padding: int, form: Form, name: str) -> Conv:
    """Convolution with bias, started as in PyTorch."""
    start = uniform_within((kernel_size**2 * before) ** -0.5)
    return Conv(before, after, kernel_size, stride, padding, form=form, bias_init=start, name=name)


def depthwise(channels: int, kernel_size: int, form: Form, name: str) -> Conv:
    """Depthwise convolution with bias that keeps the size, started as in PyTorch."""
    start = uniform_within(1 / kernel_size)
    return Conv(
        channels, channels, kernel_size, 1, kernel_size // 2, channels, form=form, bias_init=start, name=name
    )


class PatchEmbed(nn.Module):
    """Patches of `size` x `size` pixels that do not overlap, `conv`, and layer norm, `norm`."""

    in_features: int
    features: int
    size: int
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap) -> FeatureMap:
        x = conv(self.in_features, self.features, self.size, self.size, 0, self.form, "conv")(x)
        return LayerNorm(self.features, EPSILON_PATCHES, self.form, name="norm")(x)


class ConvStem(nn.Module):
    """Two 3x3 convolutions of stride 2 with batch norm, `unit1` and `unit2`, GELU between them."""

    in_features: int
    features: int
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> FeatureMap:
        half, form = self.features // 2, self.form
        unit = ConvNorm(self.in_features, half, 3, 2, 1, form=form, use_bias=True, name="unit1")
        x = gelu(unit(x, train=train))
        return ConvNorm(half, self.features, 3, 2, 1, form=form, use_bias=True, name="unit2")(x, train=train)


class LocalRelation(nn.Module):
    """Local MHRA (section 3.2): 1x1 (`value`), depthwise 5x5 (`affinity`) and 1x1 (`proj`) convolution.

    There is no activation between them.
    """

    features: int
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap) -> FeatureMap:
        c, form = self.features, self.form
        x = conv(c, c, 1, 1, 0, form, "value")(x)
        x = depthwise(c, 5, form, "affinity")(x)
        return conv(c, c, 1, 1, 0, form, "proj")(x)


class LocalMlp(nn.Module):
    """1x1 convolution to `hidden` channels (`fc1`), exact GELU, 1x1 convolution back (`fc2`)."""

    features: int
    hidden: int
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap) -> FeatureMap:
        x = conv(self.features, self.hidden, 1, 1, 0, self.form, "fc1")(x)
        return conv(self.hidden, self.features, 1, 1, 0, self.form, "fc2")(gelu(x))


class ConvBlock(nn.Module):
    """Position encoding `pos_embed`, local relations `mhra` and `mlp`, each added to its input.

    In deploy form `norm1` is inside `mhra.value`, `norm2` inside `mlp.fc1`, and the residual of the position
    encoding inside its kernel.
    """

    config: UniFormerConfig
    features: int
    drop_path: float
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> FeatureMap:
        c, form = self.features, self.form
        x = _encode_position(x, form)
        branch = x if form.deploy else BatchNorm(c, form=form, name="norm1")(x, train=train)
        branch = LocalRelation(c, form, name="mhra")(branch)
        x = x + DropPath(self.drop_path, name="drop_mhra")(branch, train=train)
        branch = x if form.deploy else BatchNorm(c, form=form, name="norm2")(x, train=train)
        branch = LocalMlp(c, self.config.hidden(c), form, name="mlp")(branch)
        return x + DropPath(self.drop_path, name="drop_mlp")(branch, train=train)


class AttentionBlock(nn.Module):
    """Position encoding `pos_embed`, self-attention `mhra` and `mlp`, each added to its input.

    With `window`, each window of that many rows and columns is attended to by itself; the map is padded with
    zeros after the norm, and those take part as keys, as in the reference code. In deploy form the scales
    are inside `mhra.proj` and `mlp.fc2`, and the residual of the position encoding inside its kernel.
    """

    config: UniFormerConfig
    features: int
    window: int
    drop_path: float
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> FeatureMap:
        c, form = self.features, self.form
        x = _encode_position(x, form)
        shape = x.shape
        norm = LayerNorm(c, EPSILON_BLOCKS, form, name="norm1")
        attention = SelfAttention(c, c // self.config.head_dim, form, kernel_init=LINEAR_INIT, name="mhra")
        if self.window:
            branch = _in_windows(attention, norm(x), self.window).reshape(shape[0], -1, c)
            x = x.reshape(branch.shape)
        else:
            x = x.reshape(shape[0], -1, c)
            branch = attention(norm(x))
        branch = self._scale(branch, "scale1")
        x = x + DropPath(self.drop_path, name="drop_mhra")(branch, train=train)
        branch = LayerNorm(c, EPSILON_BLOCKS, form, name="norm2")(x)
        branch = Mlp(c, self.config.hidden(c), form, LINEAR_INIT, name="mlp")(branch)
        branch = self._scale(branch, "scale2")
        return (x + DropPath(self.drop_path, name="drop_mlp")(branch, train=train)).reshape(shape)

    def _scale(self, branch: Array, name: str) -> Array:
        if self.config.layer_scale is None or self.form.deploy:
            return branch
        return LayerScale(self.features, self.config.layer_scale, self.form, name=name)(branch)


class Stage(nn.Module):
    """`patch_embed`, in all stages but the first, and `block1`, `block2`, ...; `index` counts from 0."""

    config: UniFormerConfig
    index: int
    drop_path: tuple[float, ...]
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> FeatureMap:
        config, index, form = self.config, self.index, self.form
        c = config.widths[index]
        if index > 0 and config.conv_stem:
            embed = ConvNorm(
                config.widths[index - 1], c, 3, 2, 1, form=form, use_bias=True, name="patch_embed"
            )
            x = embed(x, train=train)
        elif index > 0:
            x = PatchEmbed(config.widths[index - 1], c, 2, form, name="patch_embed")(x)
        for number, rate in enumerate(self.drop_path, start=1):
            name = f"block{number}"
            if index < CONVOLUTION_STAGES:
                block = ConvBlock(config, c, rate, form, name=name)
            else:
                window = config.window_of(index + 1, number)
                block = AttentionBlock(config, c, window, rate, form, name=name)
            x = block(x, train=train)
        return x


class UniFormer(Backbone):
    """UniFormer image classifier; `config` is a `UniFormerConfig`.

    Takes any image size from 32x32, with the convolutional stem any size at all. Patches drop the rows and
    columns that do not fill one.
    """

    config: UniFormerConfig = UniFormerConfig()

    @nn.compact
    def features(self, images: FeatureMap, *, train: bool = False, tail: bool = True) -> Features:
        config = self.config
        check_images(images, config.in_channels)
        check_size(config, images.shape[1], images.shape[2])
        form = Form(self.dtype, self.deploy, self.axis_name, CONV_INIT)
        images, c = images.astype(self.dtype), config.widths[0]
        out: Features = {}
        if config.conv_stem:
            x = ConvStem(config.in_channels, c, form, name="stem")(images, train=train)
        else:
            x = PatchEmbed(config.in_channels, c, 4, form, name="stem")(images)
        out["stem"] = x
        rates = drop_path_rates(config.drop_path_rate, sum(config.depths))
        for i, end in enumerate(accumulate(config.depths)):
            stage_rates = rates[end - config.depths[i] : end]
            x = Stage(config, i, stage_rates, form, name=f"stage{i + 1}")(x, train=train)
            out[f"stage{i + 1}"] = x
        if not tail:
            return out
        c = config.widths[-1]
        if not self.deploy:
            out["pre_logits"] = global_avg_pool(BatchNorm(c, form=form, name="norm")(x, train=train))
        elif config.num_classes:  # the norm commutes with the mean, so the head holds it
            out["pre_logits"] = global_avg_pool(x)
        else:  # nothing follows that could hold it
            out["pre_logits"] = Affine(c, form=form, name="norm")(global_avg_pool(x))
        if config.num_classes:
            head = Dense(c, config.num_classes, form, LINEAR_INIT, name="head")
            out["logits"] = head(out["pre_logits"])
        return out


def _encode_position(x: FeatureMap, form: Form) -> FeatureMap:
    """Child `pos_embed` of the block: a depthwise 3x3 convolution, added to its input."""
    y = depthwise(x.shape[-1], 3, form, "pos_embed")(x)
    return y if form.deploy else x + y


def _in_windows(attention: SelfAttention, x: FeatureMap, side: int) -> FeatureMap:
    b, h, w, c = x.shape
    windows = Windows(h, w, (side, side))
    tokens = windows.split_heads(windows.prepare(x), parts=1, heads=1)
    mixed = attention(tokens.reshape(-1, side * side, c))
    return windows.restore(windows.merge_heads(mixed.reshape(b, -1, 1, side * side, c)))
