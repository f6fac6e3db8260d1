"""Next-ViT (Li et al., arXiv 2207.05501).

Matched against the official code, bytedance/Next-ViT classification/nextvit.py at 922e771ae602. Where paper
and code differ the code is followed: the MLP ratio is 3 in convolution blocks and 2 in transformer blocks,
and keys and values are pooled over consecutive tokens, not over square windows.
"""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from hvjax.blocks.attention import ReducedAttention
from hvjax.blocks.batch_norm import Affine
from hvjax.blocks.form import Form
from hvjax.blocks.initializers import normal
from hvjax.blocks.layers import Conv, Dense, DropPath
from hvjax.blocks.mlp import ConvMlp
from hvjax.models.features import Backbone, Features, check_images, drop_path_rates
from hvjax.models.next_vit_blocks import (
    EPSILON,
    OtherConvBlock,
    activation,
    conv_norm,
    normalize,
    patch_embed,
    stage_norm,
)
from hvjax.models.next_vit_config import (
    CONVOLUTION,
    STRIDES,
    TRANSFORMER,
    NextViTConfig,
    block_inputs,
    check_size,
)
from hvjax.ops.pooling import global_avg_pool

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
            unit = conv_norm(self.config, self.form, f"unit{i + 1}", widths[i], widths[i + 1], 3, stride, 1)
            x = activation(self.config)(unit(x, train=train))
        return x


class ConvAttention(nn.Module):
    """MHCA: grouped 3x3 convolution, norm, ReLU, 1x1 convolution without bias (section 3.2)."""

    config: NextViTConfig
    features: int
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> FeatureMap:
        config, c, form = self.config, self.features, self.form
        folded = form.deploy and config.norm == "batch"
        x = Conv(c, c, 3, 1, 1, c // config.head_dim, use_bias=folded, form=form, name="conv")(x)
        x = activation(config)(normalize(x, config, form, "norm", train))
        return Conv(c, c, use_bias=False, form=form, name="projection")(x)


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
        x = patch_embed(x, config, c, self.stride, form, train)
        branch = ConvAttention(config, c, form, name="mhca")(x, train=train)
        x = x + DropPath(self.drop_path, name="drop_mhca")(branch, train=train)
        branch = normalize(x, config, form, "norm", train)
        branch = ConvMlp(c, config.hidden(CONVOLUTION, c), form, activation(config), name="mlp")(branch)
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
        x = patch_embed(x, config, wide or narrow, self.stride, form, train)
        parts = []
        if wide:
            x = self._attend(x, train)
            parts.append(x)
        if narrow:
            if wide:
                x = conv_norm(config, form, "projection", wide, narrow)(x, train=train)
            branch = ConvAttention(config, narrow, form, name="mhca")(x, train=train)
            rate = self.drop_path * (1 - config.mix_ratio)
            parts.append(x + DropPath(rate, name="drop_mhca")(branch, train=train))
        x = jnp.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0]
        branch = normalize(x, config, form, "norm2", train)
        branch = ConvMlp(c, config.hidden(TRANSFORMER, c), form, activation(config), name="mlp")(branch)
        return x + DropPath(self.drop_path, name="drop_mlp")(branch, train=train)

    def _attend(self, x: FeatureMap, train: bool) -> FeatureMap:
        """Add E-MHSA of the normalised pixels, row by row."""
        config, form, wide = self.config, self.form, x.shape[-1]
        tokens = normalize(x, config, form, "norm1", train)
        epsilon = EPSILON if config.norm == "layer" else None
        heads = wide // config.head_dim
        attention = ReducedAttention(wide, heads, self.reduction, form, epsilon, name="e_mhsa")
        branch = attention(tokens.reshape(x.shape[0], -1, wide), train=train).reshape(x.shape)
        return x + DropPath(self.drop_path * config.mix_ratio, name="drop_e_mhsa")(branch, train=train)


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
            ratio = config.reduction_ratios[i]
            if letter == CONVOLUTION and config.conv_block != "ncb":
                block = OtherConvBlock(config, after, stride, ratio, rate, form, name=name)
            elif letter == CONVOLUTION:
                block = ConvBlock(config, before, after, stride, rate, form, name=name)
            else:
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
    def features(self, images: FeatureMap, *, train: bool = False, tail: bool = True) -> Features:
        config = self.config
        check_images(images, config.in_channels)
        check_size(config, images.shape[1], images.shape[2])
        form = Form(self.dtype, self.deploy, self.axis_name, KERNEL_INIT)
        out: Features = {}
        x = out["stem"] = Stem(config, form, name="stem")(images.astype(self.dtype), train=train)
        rates = drop_path_rates(config.drop_path_rate, sum(map(len, config.blocks)))
        for i, letters in enumerate(config.blocks):
            stage_rates, rates = rates[: len(letters)], rates[len(letters) :]
            x = Stage(config, i, stage_rates, form, name=f"stage{i + 1}")(x, train=train)
            if config.stage_norms:
                x = stage_norm(x, config, form, f"stage_norm{i + 1}", train)
            out[f"stage{i + 1}"] = x
        if not tail:
            return out
        c = config.widths[-1][-1]
        if config.norm == "layer" or not self.deploy:
            out["pre_logits"] = global_avg_pool(normalize(x, config, form, "norm", train))
        elif config.num_classes:  # the norm commutes with the mean, so the head holds it
            out["pre_logits"] = global_avg_pool(x)
        else:  # nothing follows that could hold it
            out["pre_logits"] = Affine(c, form=form, name="norm")(global_avg_pool(x))
        if config.num_classes:
            out["logits"] = Dense(c, config.num_classes, form=form, name="head")(out["pre_logits"])
        return out
