"""FastViT (Vasu et al., arXiv 2303.14189).

Matched against the official code, apple/ml-fastvit models/fastvit.py at 8af5928238ca, and timm 1.0.31. Where
paper and code differ the code is followed: there is no activation between the two convolutions of a patch
embedding, because the official module discards its result.
"""

from __future__ import annotations

from functools import partial

from flax import linen as nn
from jaxtyping import Array, Float

from hvjax.blocks.attention import SelfAttention
from hvjax.blocks.batch_norm import BatchNorm
from hvjax.blocks.form import Form
from hvjax.blocks.initializers import normal, uniform_fan_in, uniform_within
from hvjax.blocks.layers import Conv, ConvNorm, Dense, DropPath, LayerScale
from hvjax.blocks.rep_conv import RepConv, RepMixer
from hvjax.models.fastvit_config import ATTENTION, SMALL_KERNEL, FastViTConfig
from hvjax.models.features import Backbone, Features, check_images, drop_path_rates
from hvjax.ops.activation import gelu
from hvjax.ops.pooling import global_avg_pool

FeatureMap = Float[Array, "b h w c"]

# Convolutions start as PyTorch starts them, those of the feed-forward networks and dense layers from a normal
# (the reference cuts it off at +-2, which is 100 deviations: not cut at all).
KERNEL_INIT = uniform_fan_in()
DENSE_INIT = normal(0.02)


class Stem(nn.Module):
    """Three MobileOne blocks with GELU, `unit1` to `unit3`: 3x3, depthwise 3x3, 1x1; stride 2, 2, 1."""

    config: FastViTConfig
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> FeatureMap:
        c = self.config.widths[0]
        unit = partial(RepConv, activation=gelu, form=self.form)
        x = unit(self.config.in_channels, c, 3, 2, name="unit1")(x, train=train)
        x = unit(c, c, 3, 2, groups=c, name="unit2")(x, train=train)
        return unit(c, c, 1, name="unit3")(x, train=train)


class PatchEmbed(nn.Module):
    """Halves the map: depthwise convolution with a large kernel, then a 1x1 MobileOne block with GELU.

    In training form the first is the sum of `large` and `small` (3x3; absent where `large` is no larger),
    each with its norm; in deploy form it is `conv`. The 1x1 block is `pointwise`.
    """

    in_features: int
    features: int
    kernel_size: int
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> FeatureMap:
        cin, cout, form = self.in_features, self.features, self.form
        if form.deploy:
            k = self.kernel_size
            x = Conv(cin, cout, k, 2, k // 2, cin, form=form, name="conv")(x)
        else:
            x = self._branches(x, train)
        return RepConv(cout, cout, 1, activation=gelu, form=form, name="pointwise")(x, train=train)

    def _branches(self, x: FeatureMap, train: bool) -> FeatureMap:
        cin, cout, k = self.in_features, self.features, self.kernel_size
        y = ConvNorm(cin, cout, k, 2, k // 2, cin, form=self.form, name="large")(x, train=train)
        if k <= SMALL_KERNEL:
            return y
        small = ConvNorm(cin, cout, SMALL_KERNEL, 2, SMALL_KERNEL // 2, cin, form=self.form, name="small")
        return y + small(x, train=train)


class PositionEncoding(nn.Module):
    """Conditional position encoding (RepCPE): `x + conv(x)`, depthwise; the deploy form's `conv` adds x."""

    features: int
    kernel_size: int
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap) -> FeatureMap:
        c, k = self.features, self.kernel_size
        conv = Conv(c, c, k, 1, k // 2, c, form=self.form, bias_init=uniform_within(1 / k), name="conv")
        return conv(x) if self.form.deploy else x + conv(x)


class ConvFFN(nn.Module):
    """Depthwise convolution with norm (`conv`), 1x1 to `hidden` (`fc1`), GELU, 1x1 back (`fc2`).

    `kernel_size` 0 leaves the depthwise convolution out.
    """

    features: int
    hidden: int
    kernel_size: int
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> FeatureMap:
        c, k = self.features, self.kernel_size
        form = _with_init(self.form)
        if k:
            x = ConvNorm(c, c, k, 1, k // 2, c, form=form, name="conv")(x, train=train)
        x = gelu(Conv(c, self.hidden, form=form, name="fc1")(x))
        return Conv(self.hidden, c, form=form, name="fc2")(x)


class RepMixerBlock(nn.Module):
    """RepMixer (`token_mixer`), then a feed-forward network (`mlp`) with residual and layer scale."""

    config: FastViTConfig
    index: int
    drop_path: float
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> FeatureMap:
        config, c, form = self.config, self.config.widths[self.index], self.form
        mixer = RepMixer(c, config.mixer_kernel, config.layer_scale, form=form, name="token_mixer")
        x = mixer(x, train=train)
        y = _ffn(config, self.index, form)(x, train=train)
        return x + DropPath(self.drop_path, name="drop")(_scale(y, config, form, "layer_scale"), train=train)


class AttentionBlock(nn.Module):
    """Batch norm and attention, then a feed-forward network, each with residual and layer scale.

    `attention.qkv` has no bias in training form. In deploy form `norm` is inside it, `layer_scale1` inside
    `attention.proj` and `layer_scale2` inside `mlp.fc2`.
    """

    config: FastViTConfig
    index: int
    drop_path: float
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> FeatureMap:
        config, c, form = self.config, self.config.widths[self.index], self.form
        y = x if form.deploy else BatchNorm(c, form=form, name="norm")(x, train=train)
        b, h, w, _ = x.shape
        attention = SelfAttention(c, c // config.head_dim, _with_init(form), form.deploy, name="attention")
        y = attention(y.reshape(b, h * w, c)).reshape(b, h, w, c)
        y = _scale(y, config, form, "layer_scale1")
        x = x + DropPath(self.drop_path, name="drop_attention")(y, train=train)
        y = _ffn(config, self.index, form)(x, train=train)
        y = _scale(y, config, form, "layer_scale2")
        return x + DropPath(self.drop_path, name="drop_mlp")(y, train=train)


class Stage(nn.Module):
    """What belongs to one resolution; `index` counts stages from 0.

    Children: `downsample` (not in the first stage), `position` where the stage has an encoding, then
    `block1`, `block2`, ... Returns the map before the blocks, too.
    """

    config: FastViTConfig
    index: int
    drop_path: tuple[float, ...]
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> tuple[FeatureMap, FeatureMap]:
        config, i, form = self.config, self.index, self.form
        if i:
            before, after = config.widths[i - 1], config.widths[i]
            down = PatchEmbed(before, after, config.patch_kernels[i - 1], form, name="downsample")
            x = down(x, train=train)
        if config.position_kernels[i]:
            x = PositionEncoding(config.widths[i], config.position_kernels[i], form, name="position")(x)
        entry = x
        block = AttentionBlock if config.token_mixers[i] == ATTENTION else RepMixerBlock
        for number, rate in enumerate(self.drop_path, start=1):
            x = block(config, i, rate, form, name=f"block{number}")(x, train=train)
        return x, entry


class FastViT(Backbone):
    """FastViT image classifier; `config` is a `FastViTConfig`. Takes any image size.

    The features "stage1" to "stage4" are the outputs of the stages, as in timm. For dense prediction the
    official code taps entries 0, 2, 4 and 6 of one flat list of modules. Where stage 4 has a position
    encoding, entry 6 is that encoding, so that its last feature map has not seen the attention blocks. With
    `official_taps=True` in the config, "stage4" is that map. (The official code normalises the four maps by
    batch norms that classification does not have and does not train; they are not part of this network.)
    """

    config: FastViTConfig = FastViTConfig()

    @nn.compact
    def features(self, images: FeatureMap, *, train: bool = False, tail: bool = True) -> Features:
        config = self.config
        check_images(images, config.in_channels)
        form = Form(self.dtype, self.deploy, self.axis_name, KERNEL_INIT)
        out: Features = {}
        x = out["stem"] = Stem(config, form, name="stem")(images.astype(self.dtype), train=train)
        rates = drop_path_rates(config.drop_path_rate, sum(config.depths))
        for i, depth in enumerate(config.depths):
            stage_rates, rates = rates[:depth], rates[depth:]
            x, before = Stage(config, i, stage_rates, form, name=f"stage{i + 1}")(x, train=train)
            out[f"stage{i + 1}"] = x
        if config.official_taps and config.position_kernels[-1]:
            out["stage4"] = before
        if not tail:
            return out
        c = config.widths[-1]
        wide = config.expansion * c
        hidden = max(1, int(wide * config.se_ratio))
        final = RepConv(c, wide, 3, groups=c, se_hidden=hidden, activation=gelu, form=form, name="final_conv")
        out["pre_logits"] = global_avg_pool(final(x, train=train))
        if config.num_classes:
            head = Dense(wide, config.num_classes, _with_init(form), name="head")
            out["logits"] = head(out["pre_logits"])
        return out


def _with_init(form: Form) -> Form:
    """The same form with the start values of dense layers and feed-forward networks."""
    return Form(form.dtype, form.deploy, form.axis_name, DENSE_INIT)


def _ffn(config: FastViTConfig, index: int, form: Form) -> ConvFFN:
    c = config.widths[index]
    return ConvFFN(c, int(c * config.mlp_ratios[index]), config.ffn_kernels[index], form, name="mlp")


def _scale(y: FeatureMap, config: FastViTConfig, form: Form, name: str) -> FeatureMap:
    return y if form.deploy else LayerScale(y.shape[-1], config.layer_scale, form, name=name)(y)
