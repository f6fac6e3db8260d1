"""EfficientFormer (Li et al., arXiv 2206.01191).

Matched against snap-research/EfficientFormer models/efficientformer.py and timm 1.0.31
timm/models/efficientformer.py, which share the numbers. Both fix the map of the attention at 7x7; here its
size follows from `image_size`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import accumulate, pairwise

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Int

from hvjax.blocks.batch_norm import BatchNorm
from hvjax.blocks.form import Form
from hvjax.blocks.initializers import normal, uniform_fan_in
from hvjax.blocks.layer_norm import LayerNorm
from hvjax.blocks.layers import Conv, ConvNorm, Dense, DropPath, LayerScale
from hvjax.blocks.mlp import Mlp
from hvjax.models.features import Backbone, Features, check_images, drop_path_rates
from hvjax.models.numbers import INTEGERS, check_integer, check_integers, check_positive, check_rate
from hvjax.ops.activation import gelu
from hvjax.ops.attention import dot_product_attention, merge_heads
from hvjax.ops.pooling import avg_pool2d

FeatureMap = Float[Array, "b h w c"]
Tokens = Float[Array, "b n c"]

STAGES = 4
STRIDE = 32  # pixels of the image per position of the map on which attention runs
EPSILON = 1e-5  # of the layer norms
DENSE_INIT = normal(0.02)  # the reference cuts it off at +-2, which is 100 deviations


@dataclass(frozen=True)
class EfficientFormerConfig:
    """One variant of EfficientFormer (arXiv 2206.01191). The defaults are EfficientFormer-L7.

    Attributes:
      num_classes: size of the head; 0 for no head.
      in_channels: channels of the images.
      drop_path_rate: stochastic depth of the last block, rising linearly from 0 at the first.
      image_size: (height, width) of the images in pixels; one number for square ones. The tables of attention
        biases depend on it.
      depths: blocks of each stage.
      widths: channels of each stage; the first unit of the stem has half of the first.
      attention_blocks: how many of the last blocks of stage 4 attend; all others pool.
      mlp_ratio: hidden channels of the MLPs over their input channels.
      pool_size: window of the pooling, an odd number.
      heads, key_dim: attention heads, and channels of a query or key per head.
      value_ratio: channels of a value per head over `key_dim`.
      layer_scale_init: start value of the layer scales.

    Raises:
      ValueError: if the numbers do not fit together.
    """

    num_classes: int = 1000
    in_channels: int = 3
    drop_path_rate: float = 0.0
    image_size: tuple[int, int] = (224, 224)
    depths: tuple[int, ...] = (6, 6, 18, 8)
    widths: tuple[int, ...] = (96, 192, 384, 768)
    attention_blocks: int = 8
    mlp_ratio: float = 4
    pool_size: int = 3
    heads: int = 8
    key_dim: int = 32
    value_ratio: float = 4
    layer_scale_init: float = 1e-5

    def __post_init__(self) -> None:
        for field in fields(self):  # lists, as JSON and config files give them, are fine too
            value = getattr(self, field.name)
            object.__setattr__(self, field.name, tuple(value) if isinstance(value, list) else value)
        if isinstance(self.image_size, INTEGERS):
            object.__setattr__(self, "image_size", (self.image_size,) * 2)
        check_integers("image_size", self.image_size, 1, 2)
        for name in ("depths", "widths"):
            check_integers(name, getattr(self, name), 1, STAGES)
        least = {"num_classes": 0, "in_channels": 1, "attention_blocks": 0, "pool_size": 1}
        for name, smallest in {**least, "heads": 1, "key_dim": 1}.items():
            check_integer(name, getattr(self, name), smallest)
        for name in ("mlp_ratio", "value_ratio", "layer_scale_init"):
            check_positive(name, getattr(self, name))
        check_rate("drop_path_rate", self.drop_path_rate)
        if self.widths[0] % 2:
            raise ValueError(f"widths={self.widths}: expected an even first width, which the stem halves")
        if self.pool_size % 2 == 0:
            raise ValueError(f"pool_size={self.pool_size}: expected an odd number")
        if self.attention_blocks > self.depths[-1]:
            raise ValueError(
                f"attention_blocks={self.attention_blocks}: expected at most the {self.depths[-1]} blocks of "
                "stage 4, the only stage with attention"
            )

    @property
    def attention_map(self) -> tuple[int, int]:
        """Height and width of the map on which attention runs."""
        height, width = self.image_size
        return -(-height // STRIDE), -(-width // STRIDE)

    def attends(self, stage: int, block: int) -> bool:
        """Say whether a block has attention; stages and blocks count from 0."""
        return stage == STAGES - 1 and block >= self.depths[-1] - self.attention_blocks


def offset_index(height: int, width: int) -> Int[np.ndarray, "n n"]:
    """Column of the bias table for each query and key of a map with n = height * width positions.

    It is that of their distance (|dy|, |dx|), row by row: `|dy| * width + |dx|`.
    """
    y, x = (axis.ravel() for axis in np.mgrid[:height, :width])
    return abs(y[:, None] - y) * width + abs(x[:, None] - x)


class BiasedAttention(nn.Module):
    """Attention with a learned bias for each head and distance; values wider than keys (section 4.1).

    Parameter `bias_table`, (heads, height * width); children `qkv`, whose channels are query, key and value
    of the first head, then those of the second and so on, and `proj`.
    """

    config: EfficientFormerConfig
    features: int
    form: Form

    @nn.compact
    def __call__(self, x: Tokens) -> Tokens:
        config, form = self.config, self.form
        (b, n, c), heads, key = x.shape, config.heads, config.key_dim
        value = int(config.value_ratio * key)
        qkv = Dense(c, heads * (2 * key + value), form, DENSE_INIT, name="qkv")(x)
        qkv = qkv.reshape(b, n, heads, 2 * key + value)
        q, k, v = qkv[..., :key], qkv[..., key : 2 * key], qkv[..., 2 * key :]
        height, width = config.attention_map
        table = self.param("bias_table", nn.initializers.zeros, (heads, height * width), jnp.float32)
        y = dot_product_attention(q, k, v, table[:, offset_index(height, width)])
        return Dense(heads * value, self.features, form, DENSE_INIT, name="proj")(merge_heads(y))


class NormMlp(nn.Module):
    """1x1 convolutions `fc1` and `fc2` with biases, a batch norm after each, exact GELU between them."""

    features: int
    hidden: int
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> FeatureMap:
        c, hidden, form = self.features, self.hidden, self.form
        x = Conv(c, hidden, form=form, kernel_init=DENSE_INIT, name="fc1")(x)
        if not form.deploy:
            x = BatchNorm(hidden, form=form, name="norm1")(x, train=train)
        x = Conv(hidden, c, form=form, kernel_init=DENSE_INIT, name="fc2")(gelu(x))
        return x if form.deploy else BatchNorm(c, form=form, name="norm2")(x, train=train)


class PoolBlock(nn.Module):
    """MetaBlock on maps ("MB4D"): pooling, then an MLP with batch norms; both scaled and added.

    In deploy form `layer_scale2` is inside `mlp.fc2`. `layer_scale1` stays: its branch has no weights.
    """

    config: EfficientFormerConfig
    features: int
    drop_path: float
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> FeatureMap:
        config, c, form = self.config, self.features, self.form
        mixed = avg_pool2d(x, config.pool_size, 1, padding=config.pool_size // 2) - x
        mixed = LayerScale(c, config.layer_scale_init, form, name="layer_scale1")(mixed)
        x = x + DropPath(self.drop_path, name="drop_pool")(mixed, train=train)
        branch = NormMlp(c, int(c * config.mlp_ratio), form, name="mlp")(x, train=train)
        if not form.deploy:
            branch = LayerScale(c, config.layer_scale_init, form, name="layer_scale2")(branch)
        return x + DropPath(self.drop_path, name="drop_mlp")(branch, train=train)


class AttentionBlock(nn.Module):
    """MetaBlock on tokens ("MB3D"): layer norm and attention, layer norm and MLP; both scaled and added.

    In deploy form the layer scales are inside `attention.proj` and `mlp.fc2`.
    """

    config: EfficientFormerConfig
    features: int
    drop_path: float
    form: Form

    @nn.compact
    def __call__(self, x: Tokens, *, train: bool = False) -> Tokens:
        config, c, form = self.config, self.features, self.form
        branch = LayerNorm(c, EPSILON, form, name="norm1")(x)
        branch = self._scale(BiasedAttention(config, c, form, name="attention")(branch), "layer_scale1")
        x = x + DropPath(self.drop_path, name="drop_attention")(branch, train=train)
        branch = LayerNorm(c, EPSILON, form, name="norm2")(x)
        branch = Mlp(c, int(c * config.mlp_ratio), form, DENSE_INIT, name="mlp")(branch)
        return x + DropPath(self.drop_path, name="drop_mlp")(self._scale(branch, "layer_scale2"), train=train)

    def _scale(self, branch: Tokens, name: str) -> Tokens:
        if self.form.deploy:
            return branch
        return LayerScale(self.features, self.config.layer_scale_init, self.form, name=name)(branch)


class Stem(nn.Module):
    """Two 3x3 convolutions of stride 2 with norm and ReLU, `unit1` and `unit2`."""

    config: EfficientFormerConfig
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> FeatureMap:
        widths = (self.config.in_channels, self.config.widths[0] // 2, self.config.widths[0])
        for number, (before, after) in enumerate(pairwise(widths), start=1):
            x = jax.nn.relu(_biased_conv_norm(before, after, self.form, f"unit{number}")(x, train=train))
        return x


class Stage(nn.Module):
    """`downsample`, but for the first stage, and `block1`, `block2`, ...; `index` counts stages from 0.

    The last stage gives tokens, (b, h * w, c), the others maps.
    """

    config: EfficientFormerConfig
    index: int
    drop_path: tuple[float, ...]
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> Array:
        config, i, form = self.config, self.index, self.form
        c = config.widths[i]
        if i > 0:
            x = _biased_conv_norm(config.widths[i - 1], c, form, "downsample")(x, train=train)
        for number, rate in enumerate(self.drop_path):
            if config.attends(i, number):
                x = x.reshape(x.shape[0], -1, c)
                x = AttentionBlock(config, c, rate, form, name=f"block{number + 1}")(x, train=train)
            else:
                x = PoolBlock(config, c, rate, form, name=f"block{number + 1}")(x, train=train)
        return x.reshape(x.shape[0], -1, c) if i == STAGES - 1 else x


class DistilledHead(nn.Module):
    """Mean of two linear heads: `label`, and `distillation`, which was trained to follow a teacher.

    In deploy form one linear layer, exactly that mean. To train the heads apart, read both through
    `capture_intermediates=lambda module, _: module.name in ("label", "distillation")`.
    """

    features: int
    classes: int
    form: Form

    @nn.compact
    def __call__(self, x: Float[Array, "b c"]) -> Float[Array, "b classes"]:
        args = (self.features, self.classes, self.form, DENSE_INIT)
        return (Dense(*args, name="label")(x) + Dense(*args, name="distillation")(x)) * 0.5


class EfficientFormer(Backbone):
    """EfficientFormer image classifier; `config` is an `EfficientFormerConfig`.

    Takes images whose map in stage 4 is that of `config.image_size`, which is to say of this size up to
    rounding up to multiples of 32.
    """

    config: EfficientFormerConfig = EfficientFormerConfig()

    @nn.compact
    def features(self, images: FeatureMap, *, train: bool = False, tail: bool = True) -> Features:
        config = self.config
        check_images(images, config.in_channels)
        _check_size(self, images)
        form = Form(self.dtype, self.deploy, self.axis_name, uniform_fan_in())
        out: Features = {}
        x = out["stem"] = Stem(config, form, name="stem")(images.astype(self.dtype), train=train)
        rates = drop_path_rates(config.drop_path_rate, sum(config.depths))
        for i, end in enumerate(accumulate(config.depths)):
            stage_rates = rates[end - config.depths[i] : end]
            x = Stage(config, i, stage_rates, form, name=f"stage{i + 1}")(x, train=train)
            out[f"stage{i + 1}"] = x
        c = config.widths[-1]
        out["stage4"] = x.reshape(-1, *config.attention_map, c)
        if not tail:
            return out
        x = LayerNorm(c, EPSILON, form, name="norm")(x)
        wide = jnp.promote_types(x.dtype, jnp.float32)
        out["pre_logits"] = jnp.mean(x, axis=1, dtype=wide).astype(x.dtype)
        if config.num_classes:
            args = (c, config.num_classes, form)
            head = Dense(*args, DENSE_INIT, name="head") if self.deploy else DistilledHead(*args, name="head")
            out["logits"] = head(out["pre_logits"])
        return out


def _biased_conv_norm(before: int, after: int, form: Form, name: str) -> ConvNorm:
    """3x3 convolution of stride 2 with bias, then norm."""
    return ConvNorm(before, after, 3, 2, 1, form=form, use_bias=True, name=name)


def _check_size(model: EfficientFormer, images: Array) -> None:
    """Raise ValueError unless the map of stage 4 has the size of the bias tables."""
    height, width = images.shape[1:3]
    if (-(-height // STRIDE), -(-width // STRIDE)) != model.config.attention_map:
        name = model.variant or "efficientformer_l7"
        raise ValueError(
            f"images of {height}x{width}, but this model has attention biases for images of "
            f"{'x'.join(map(str, model.config.image_size))}: make it by "
            f'hvjax.create_model("{name}", image_size=({height}, {width}))'
        )
