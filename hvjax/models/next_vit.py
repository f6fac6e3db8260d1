"""Next-ViT (Li et al., arXiv 2207.05501).

Matched against the official code, bytedance/Next-ViT classification/nextvit.py at 922e771ae602. Where paper
and code differ the code is followed: the MLP ratio is 3 in convolution blocks and 2 in transformer blocks,
and keys and values are pooled over consecutive tokens, not over square windows.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from hvjax.blocks.attention import ReducedAttention
from hvjax.blocks.batch_norm import Affine, BatchNorm
from hvjax.blocks.form import Form
from hvjax.blocks.initializers import normal
from hvjax.blocks.layers import Conv, ConvNorm, Dense, DropPath
from hvjax.blocks.mlp import ConvMlp
from hvjax.models.features import Backbone, Features, check_images, drop_path_rates
from hvjax.models.next_vit_config import (
    CONVOLUTION,
    STRIDES,
    TRANSFORMER,
    NextViTConfig,
    block_inputs,
    check_size,
)
from hvjax.ops.pooling import avg_pool2d, global_avg_pool

FeatureMap = Float[Array, "b h w c"]

# The reference draws from a normal of standard deviation 0.02 cut off at +-2, which is 100 deviations: not
# cut at all.
KERNEL_INIT = normal(0.02)


class Stem(nn.Module):
    """Four 3x3 convolutions with norm and ReLU, `unit1` to `unit4`; the first and the last have stride 2."""

    config: NextViTConfig
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> FeatureMap:
        a, b, c = self.config.stem_channels
        widths = (self.config.in_channels, a, b, c, c)
        for i, stride in enumerate((2, 1, 1, 2)):
            unit = ConvNorm(widths[i], widths[i + 1], 3, stride, 1, form=self.form, name=f"unit{i + 1}")
            x = jax.nn.relu(unit(x, train=train))
        return x


class ConvAttention(nn.Module):
    """MHCA: grouped 3x3 convolution, norm, ReLU, 1x1 convolution without bias (section 3.2)."""

    features: int
    head_dim: int
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> FeatureMap:
        c, form = self.features, self.form
        x = Conv(c, c, 3, 1, 1, c // self.head_dim, use_bias=form.deploy, form=form, name="conv")(x)
        if not form.deploy:
            x = BatchNorm(c, form=form, name="norm")(x, train=train)
        return Conv(c, c, use_bias=False, form=form, name="projection")(jax.nn.relu(x))


class ConvBlock(nn.Module):
    """NCB, the convolution block (section 3.2). In deploy form `norm` is inside `mlp.fc1`.

    Attributes: in_features and features, channels before and after; stride, 1 or 2; drop_path, rate of its
    branches.
    """

    config: NextViTConfig
    in_features: int
    features: int
    stride: int
    drop_path: float
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> FeatureMap:
        c, form, config = self.features, self.form, self.config
        x = _patch_embed(x, self.in_features, c, self.stride, form, train)
        branch = ConvAttention(c, config.head_dim, form, name="mhca")(x, train=train)
        x = x + DropPath(self.drop_path, name="drop_mhca")(branch, train=train)
        branch = x if form.deploy else BatchNorm(c, form=form, name="norm")(x, train=train)
        branch = ConvMlp(c, config.hidden(CONVOLUTION, c), form, name="mlp")(branch)
        return x + DropPath(self.drop_path, name="drop_mlp")(branch, train=train)


class TransformerBlock(nn.Module):
    """NTB, the transformer block: attention, then convolution, both kept side by side (section 3.3).

    In deploy form `norm1` is inside `e_mhsa.q`, `k` and `v`, and `norm2` inside `mlp.fc1`. Attributes as in
    ConvBlock, and reduction, the ratio s of its attention.
    """

    config: NextViTConfig
    in_features: int
    features: int
    stride: int
    reduction: int
    drop_path: float
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> FeatureMap:
        c, form, config = self.features, self.form, self.config
        wide, narrow = config.split(c)
        x = _patch_embed(x, self.in_features, wide, self.stride, form, train)
        tokens = x if form.deploy else BatchNorm(wide, form=form, name="norm1")(x, train=train)
        attention = ReducedAttention(wide, wide // config.head_dim, self.reduction, form, name="e_mhsa")
        branch = attention(tokens.reshape(x.shape[0], -1, wide), train=train).reshape(x.shape)
        x = x + DropPath(self.drop_path * config.mix_ratio, name="drop_e_mhsa")(branch, train=train)

        y = ConvNorm(wide, narrow, form=form, name="projection")(x, train=train)
        branch = ConvAttention(narrow, config.head_dim, form, name="mhca")(y, train=train)
        y = y + DropPath(self.drop_path * (1 - config.mix_ratio), name="drop_mhca")(branch, train=train)

        x = jnp.concatenate([x, y], axis=-1)
        branch = x if form.deploy else BatchNorm(c, form=form, name="norm2")(x, train=train)
        branch = ConvMlp(c, config.hidden(TRANSFORMER, c), form, name="mlp")(branch)
        return x + DropPath(self.drop_path, name="drop_mlp")(branch, train=train)


class Stage(nn.Module):
    """The blocks of one resolution, `block1`, `block2`, ...; `index` counts stages from 0."""

    config: NextViTConfig
    index: int
    drop_path: tuple[float, ...]
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> FeatureMap:
        config, i, form = self.config, self.index, self.form
        numbers = zip(
            config.blocks[i], block_inputs(config)[i], config.widths[i], self.drop_path, strict=True
        )
        for number, (letter, before, after, rate) in enumerate(numbers, start=1):
            stride, name = (STRIDES[i] if number == 1 else 1), f"block{number}"
            if letter == CONVOLUTION:
                block = ConvBlock(config, before, after, stride, rate, form, name=name)
            else:
                ratio = config.reduction_ratios[i]
                block = TransformerBlock(config, before, after, stride, ratio, rate, form, name=name)
            x = block(x, train=train)
        return x


class NextViT(Backbone):
    """Next-ViT image classifier; `config` is a `NextViTConfig`.

    Takes any image size for which each attention has at least one key (25x25 and larger for the published
    variants).
    """

    config: NextViTConfig = NextViTConfig()

    @nn.compact
    def features(self, images: FeatureMap, *, train: bool = False) -> Features:
        config = self.config
        check_images(images, config.in_channels)
        check_size(config, images.shape[1], images.shape[2])
        form = Form(self.dtype, self.deploy, self.axis_name, KERNEL_INIT)
        out: Features = {}
        x = out["stem"] = Stem(config, form, name="stem")(images.astype(self.dtype), train=train)
        rates = drop_path_rates(config.drop_path_rate, sum(map(len, config.blocks)))
        for i, letters in enumerate(config.blocks):
            stage_rates, rates = rates[: len(letters)], rates[len(letters) :]
            x = out[f"stage{i + 1}"] = Stage(config, i, stage_rates, form, name=f"stage{i + 1}")(
                x, train=train
            )
        c = config.widths[-1][-1]
        if not self.deploy:
            out["pre_logits"] = global_avg_pool(BatchNorm(c, form=form, name="norm")(x, train=train))
        elif config.num_classes:  # the norm commutes with the mean, so the head holds it
            out["pre_logits"] = global_avg_pool(x)
        else:  # nothing follows that could hold it
            out["pre_logits"] = Affine(c, form=form, name="norm")(global_avg_pool(x))
        if config.num_classes:
            out["logits"] = Dense(c, config.num_classes, form=form, name="head")(out["pre_logits"])
        return out


def _patch_embed(x: FeatureMap, before: int, after: int, stride: int, form: Form, train: bool) -> FeatureMap:
    """Child `patch_embed` of the block: 2x2 mean, 1x1 convolution, norm; identity if nothing changes.

    The mean belongs to stride 2. Where an odd map leaves a partial window, it is that of its real pixels.
    """
    if stride == 2:
        x = avg_pool2d(x, 2, 2, ceil_mode=True)
    elif before == after:
        return x
    return ConvNorm(before, after, form=form, name="patch_embed")(x, train=train)
