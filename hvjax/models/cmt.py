"""CMT, "CMT: Convolutional Neural Networks Meet Vision Transformers" (Guo et al., arXiv 2107.06263).

Matched against the official code, huawei-noah/Efficient-AI-Backbones cmt_pytorch/cmt.py at f90e129b645c. It
has convolution, GELU and norm in this order, one depthwise convolution before keys and values, and a head of
1x1 convolution, norm, Swish, mean and linear layer.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import accumulate
from math import gcd
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from hvjax.blocks.batch_norm import Affine, BatchNorm
from hvjax.blocks.form import Form
from hvjax.blocks.initializers import kaiming_normal_fan_out, normal
from hvjax.blocks.layer_norm import LayerNorm
from hvjax.blocks.layers import Conv, Dense, DropPath
from hvjax.models.features import Backbone, Features, check_images, drop_path_rates
from hvjax.models.numbers import check_integer, check_integers, check_positive, check_rate
from hvjax.ops.activation import gelu
from hvjax.ops.attention import dot_product_attention, merge_heads, split_heads
from hvjax.ops.pooling import global_avg_pool

FeatureMap = Float[Array, "b h w c"]

STAGES = 4
BLOCK_EPSILON = 1e-6  # of the layer norms in the blocks
PATCH_EPSILON = 1e-5  # of those after patch embeddings
CONV_INIT = kaiming_normal_fan_out()
# The reference draws from a normal of standard deviation 0.02 cut off at +-2, which is 100 deviations: not
# cut at all.
DENSE_INIT = normal(0.02)
POSITION_INIT = normal(1.0)


@dataclass(frozen=True)
class CMTConfig:
    """One variant of CMT. The defaults are CMT-S.

    Attributes:
      num_classes: size of the head; 0 for no head.
      in_channels: channels of the images.
      drop_path_rate: stochastic depth of the last block, rising linearly from 0.
      image_size: (height, width) of the images, to which the tables of positions are tied; one number for
        square images is accepted. The map of each stage must divide by its reduction ratio.
      depths, widths, heads: blocks, channels and attention heads of each stage.
      reduction_ratios: stride of the convolution before keys and values, for each stage.
      mlp_ratio: hidden channels of the MLPs over their input channels.
      stem_channels: channels of the stem's three convolutions.
      head_channels: channels before the mean.
      dropout_rate: of the vector that enters the head.

    Raises:
      ValueError: if the numbers do not fit together.
    """

    num_classes: int = 1000
    in_channels: int = 3
    drop_path_rate: float = 0.1
    image_size: tuple[int, int] = (224, 224)
    depths: tuple[int, ...] = (3, 3, 16, 3)
    widths: tuple[int, ...] = (64, 128, 256, 512)
    heads: tuple[int, ...] = (1, 2, 4, 8)
    reduction_ratios: tuple[int, ...] = (8, 4, 2, 1)
    mlp_ratio: float = 4.0
    stem_channels: int = 32
    head_channels: int = 1280
    dropout_rate: float = 0.1

    def __post_init__(self) -> None:
        for field in fields(self):  # lists, as JSON and config files give them, are fine too
            value: Any = getattr(self, field.name)
            if field.name == "image_size" and not isinstance(value, list | tuple):
                value = (value, value)
            object.__setattr__(self, field.name, tuple(value) if isinstance(value, list) else value)
        check_integers("image_size", self.image_size, 1, 2)
        for name in ("depths", "widths", "heads", "reduction_ratios"):
            check_integers(name, getattr(self, name), 1, STAGES)
        for name, least in (
            ("num_classes", 0),
            ("in_channels", 1),
            ("stem_channels", 1),
            ("head_channels", 1),
        ):
            check_integer(name, getattr(self, name), least)
        check_rate("drop_path_rate", self.drop_path_rate)
        check_rate("dropout_rate", self.dropout_rate)
        check_positive("mlp_ratio", self.mlp_ratio)
        if any(width % heads for width, heads in zip(self.widths, self.heads, strict=True)):
            raise ValueError(f"widths={self.widths}: expected multiples of heads={self.heads}")
        if any(side % self.step for side in self.image_size):
            raise ValueError(
                f"image_size={self.image_size}: expected multiples of {self.step}, such as "
                f"{self.nearest_size(*self.image_size)}"
            )

    @property
    def step(self) -> int:
        """Images whose sides are multiples of this make maps that divide by the reduction ratios.

        Strides and ratios of the published variants make it 32.
        """
        least = 1
        for stage, ratio in enumerate(self.reduction_ratios):
            needed = 4 * 2**stage * ratio
            least = least * needed // gcd(least, needed)
        return least

    def nearest_size(self, height: int, width: int) -> tuple[int, int]:
        """Nearest image size that a model can be made for."""
        rows, columns = (max(1, round(side / self.step)) * self.step for side in (height, width))
        return rows, columns

    def grid(self, stage: int) -> tuple[int, int]:
        """Height and width of the map of a stage, counted from 0."""
        stride = 4 * 2**stage
        return self.image_size[0] // stride, self.image_size[1] // stride

    def key_grid(self, stage: int) -> tuple[int, int]:
        """Height and width of the map of the keys of a stage, counted from 0."""
        (rows, columns), ratio = self.grid(stage), self.reduction_ratios[stage]
        return rows // ratio, columns // ratio


class Stem(nn.Module):
    """Three 3x3 convolutions, each followed by GELU and norm: `conv1`, `norm1`, ...; the first has stride 2.

    A norm after GELU could go into the convolution that follows, were it not for the zeros around the map,
    which come after the norm: folded, the norm would shift them too. In deploy form it is an affine map.
    """

    config: CMTConfig
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> FeatureMap:
        before, c, form = self.config.in_channels, self.config.stem_channels, self.form
        for number in (1, 2, 3):
            stride = 2 if number == 1 else 1
            conv = Conv(before, c, 3, stride, 1, form=form, kernel_init=CONV_INIT, name=f"conv{number}")
            x = after_activation(gelu(conv(x)), f"norm{number}", form, train)
            before = c
        return x


class Attention(nn.Module):
    """Lightweight attention (section 3.3): keys and values from a map reduced by a depthwise convolution.

    Children `q`, `k`, `v`, `proj` and, with a `reduction` s > 1, `sr`, of kernel and stride s, and its batch
    norm `norm`, which the deploy form has inside `sr`.
    """

    features: int
    heads: int
    reduction: int
    form: Form

    @nn.compact
    def __call__(
        self, x: FeatureMap, relative_position: Float[Array, "heads q k"], *, train: bool = False
    ) -> FeatureMap:
        b, c, s, form = x.shape[0], self.features, self.reduction, self.form
        source = x
        if s > 1:
            source = Conv(c, c, s, s, groups=c, form=form, kernel_init=CONV_INIT, name="sr")(source)
            if not form.deploy:
                source = BatchNorm(c, form=form, name="norm")(source, train=train)
        tokens, source = x.reshape(b, -1, c), source.reshape(b, -1, c)
        q = split_heads(Dense(c, c, form, name="q")(tokens), self.heads)
        k = split_heads(Dense(c, c, form, name="k")(source), self.heads)
        v = split_heads(Dense(c, c, form, name="v")(source), self.heads)
        attended = merge_heads(dot_product_attention(q, k, v, relative_position))
        return Dense(c, c, form, name="proj")(attended).reshape(x.shape)


class InvertedMlp(nn.Module):
    """IRFFN (section 3.4): 1x1 convolution (`fc1`), depthwise 3x3 added to its input (`conv`), 1x1 (`fc2`).

    GELU and a norm follow the first two, a norm the last. In deploy form `norm2` and `norm3` are inside `fc2`
    and the addition is inside `conv`; `norm1` stays as an affine map, as in the stem.
    """

    features: int
    hidden: int
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> FeatureMap:
        c, hidden, form = self.features, self.hidden, self.form
        x = gelu(Conv(c, hidden, form=form, kernel_init=CONV_INIT, name="fc1")(x))
        x = after_activation(x, "norm1", form, train)
        x = gelu(depthwise_added(x, "conv", form))
        if not form.deploy:
            x = BatchNorm(hidden, form=form, name="norm2")(x, train=train)
        x = Conv(hidden, c, form=form, kernel_init=CONV_INIT, name="fc2")(x)
        return x if form.deploy else BatchNorm(c, form=form, name="norm3")(x, train=train)


class Block(nn.Module):
    """Local perception `lpu`, then `attn` and `mlp`, each after a layer norm (section 3.1).

    `lpu` is a depthwise 3x3 convolution added to its input; in deploy form the addition is inside.
    """

    features: int
    heads: int
    reduction: int
    hidden: int
    drop_path: float
    form: Form

    @nn.compact
    def __call__(
        self, x: FeatureMap, relative_position: Float[Array, "heads q k"], *, train: bool = False
    ) -> FeatureMap:
        c, form = self.features, self.form
        x = depthwise_added(x, "lpu", form)
        branch = LayerNorm(c, BLOCK_EPSILON, form, name="norm1")(x)
        attention = Attention(c, self.heads, self.reduction, form, name="attn")
        branch = attention(branch, relative_position, train=train)
        x = x + DropPath(self.drop_path, name="drop_attn")(branch, train=train)
        branch = LayerNorm(c, BLOCK_EPSILON, form, name="norm2")(x)
        branch = InvertedMlp(c, self.hidden, form, name="mlp")(branch, train=train)
        return x + DropPath(self.drop_path, name="drop_mlp")(branch, train=train)


class PatchEmbed(nn.Module):
    """2x2 convolution of stride 2 (`conv`), then a layer norm (`norm`)."""

    in_features: int
    features: int
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap) -> FeatureMap:
        c, form = self.features, self.form
        x = Conv(self.in_features, c, 2, 2, form=form, kernel_init=CONV_INIT, name="conv")(x)
        return LayerNorm(c, PATCH_EPSILON, form, name="norm")(x)


class Stage(nn.Module):
    """`patch_embed`, then `block1`, `block2`, ..., which share the table `relative_position`.

    The table has one number for each head, position of the map and position of the keys; `index` counts
    stages from 0.
    """

    config: CMTConfig
    index: int
    drop_path: tuple[float, ...]
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> FeatureMap:
        config, i, form = self.config, self.index, self.form
        c, heads = config.widths[i], config.heads[i]
        x = PatchEmbed(x.shape[-1], c, form, name="patch_embed")(x)
        (h, w), (kh, kw) = config.grid(i), config.key_grid(i)
        shape = (heads, h * w, kh * kw)
        relative_position = self.param("relative_position", POSITION_INIT, shape, jnp.float32)
        hidden = int(c * config.mlp_ratio)
        for number, rate in enumerate(self.drop_path, 1):
            block = Block(c, heads, config.reduction_ratios[i], hidden, rate, form, name=f"block{number}")
            x = block(x, relative_position, train=train)
        return x


class CMT(Backbone):
    """CMT image classifier; `config` is a `CMTConfig`. Takes images of `config.image_size` only."""

    config: CMTConfig = CMTConfig()

    @nn.compact
    def features(self, images: FeatureMap, *, train: bool = False, tail: bool = True) -> Features:
        config = self.config
        check_images(images, config.in_channels)
        self._check_size(*images.shape[1:3])
        form = Form(self.dtype, self.deploy, self.axis_name, DENSE_INIT)
        out: Features = {}
        x = out["stem"] = Stem(config, form, name="stem")(images.astype(self.dtype), train=train)
        rates = drop_path_rates(config.drop_path_rate, sum(config.depths))
        for i, end in enumerate(accumulate(config.depths)):
            stage_rates = rates[end - config.depths[i] : end]
            stage = Stage(config, i, stage_rates, form, name=f"stage{i + 1}")
            x = out[f"stage{i + 1}"] = stage(x, train=train)
        if not tail:
            return out
        c = config.head_channels
        x = Conv(config.widths[-1], c, form=form, kernel_init=CONV_INIT, name="expand")(x)
        if not form.deploy:
            x = BatchNorm(c, form=form, name="norm")(x, train=train)
        out["pre_logits"] = x = global_avg_pool(jax.nn.silu(x))
        if config.num_classes:
            x = nn.Dropout(config.dropout_rate, deterministic=not train, name="dropout")(x)
            out["logits"] = Dense(c, config.num_classes, form, name="head")(x)
        return out

    def _check_size(self, height: int, width: int) -> None:
        own, near = self.config.image_size, self.config.nearest_size(height, width)
        if (height, width) != own:
            what = "such a model" if near == (height, width) else f"a model for the nearest size, {near},"
            raise ValueError(
                f"images of {height}x{width} do not fit this CMT: its tables of positions are for "
                f"{own[0]}x{own[1]}; {what} is hvjax.create_model({self.variant or 'NAME'!r}, "
                f"image_size={near})"
            )


def depthwise_added(x: FeatureMap, name: str, form: Form) -> FeatureMap:
    """`x` plus its depthwise 3x3 convolution `name`; the kernel of the deploy form holds both."""
    c = x.shape[-1]
    y = Conv(c, c, 3, 1, 1, c, form=form, kernel_init=CONV_INIT, name=name)(x)
    return y if form.deploy else x + y


def after_activation(x: FeatureMap, name: str, form: Form, train: bool) -> FeatureMap:
    """Batch norm `name`; in deploy form the affine map that it is, before a convolution with padding."""
    c = x.shape[-1]
    return Affine(c, form, name=name)(x) if form.deploy else BatchNorm(c, form, name=name)(x, train=train)
