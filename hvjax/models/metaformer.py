"""MetaFormer with pooling, which is PoolFormer (Yu et al., arXiv 2111.11418), or with RepMixer.

Matched against timm 1.0.31, timm/models/metaformer.py; the original code (sail-sg/poolformer) normalises
before the final mean, not after it. The frame with RepMixer in the place of pooling is that of the latency
study in FastViT (arXiv 2303.14189, section 3.1), which has no public code: here the mixer with its norm,
residual and layer scale is FastViT's RepMixer, so that in deploy form each mixer is one depthwise convolution
without a shortcut, and all else stays as in PoolFormer.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from flax import linen as nn
from jaxtyping import Array, Float

from hvjax.blocks.form import Form
from hvjax.blocks.group_norm import GroupNorm
from hvjax.blocks.initializers import normal
from hvjax.blocks.layer_norm import LayerNorm
from hvjax.blocks.layers import Conv, Dense, DropPath, LayerScale
from hvjax.blocks.mlp import ConvMlp
from hvjax.blocks.rep_conv import RepMixer
from hvjax.models.features import Backbone, Features, check_images, drop_path_rates
from hvjax.models.numbers import check_integer, check_integers, check_positive, check_rate
from hvjax.ops.activation import gelu
from hvjax.ops.pooling import avg_pool2d, global_avg_pool

FeatureMap = Float[Array, "b h w c"]

POOLING, REP_MIXER = "pooling", "repmixer"
STAGES = 4
KERNEL_INIT = normal(0.02)  # the reference cuts it off at +-2, which is 100 deviations: not cut at all
GROUP_NORM_EPSILON, HEAD_EPSILON = 1e-5, 1e-6


@dataclass(frozen=True)
class MetaFormerConfig:
    """One variant of MetaFormer (arXiv 2111.11418, table 1). The defaults are PoolFormer-S12.

    Attributes:
      num_classes: size of the head; 0 for no head.
      in_channels: channels of the images.
      drop_path_rate: stochastic depth of the last block, rising linearly from 0; RepMixer itself has none.
      depths, widths: blocks and channels of each stage.
      token_mixer: "pooling" or "repmixer".
      mixer_kernel: window of the pooling or kernel of RepMixer, odd.
      mlp_ratio: hidden channels of the MLPs over their channels.
      layer_scale: start value of all layer scales.

    Raises:
      ValueError: if the numbers do not fit together.
    """

    num_classes: int = 1000
    in_channels: int = 3
    drop_path_rate: float = 0.1
    depths: tuple[int, ...] = (2, 2, 6, 2)
    widths: tuple[int, ...] = (64, 128, 320, 512)
    token_mixer: str = POOLING
    mixer_kernel: int = 3
    mlp_ratio: float = 4
    layer_scale: float = 1e-5

    def __post_init__(self) -> None:
        for field in fields(self):  # lists, as JSON and config files give them, are fine too
            value = getattr(self, field.name)
            object.__setattr__(self, field.name, tuple(value) if isinstance(value, list) else value)
        for name, least in (("num_classes", 0), ("in_channels", 1), ("mixer_kernel", 1)):
            check_integer(name, getattr(self, name), least)
        for name in ("depths", "widths"):
            check_integers(name, getattr(self, name), 1, STAGES)
        check_rate("drop_path_rate", self.drop_path_rate)
        check_positive("mlp_ratio", self.mlp_ratio)
        check_positive("layer_scale", self.layer_scale)
        if self.mixer_kernel % 2 == 0:
            raise ValueError(f"mixer_kernel={self.mixer_kernel}: expected an odd number")
        if self.token_mixer not in (POOLING, REP_MIXER):
            raise ValueError(f"token_mixer={self.token_mixer!r}: expected {POOLING!r} or {REP_MIXER!r}")


class Block(nn.Module):
    """Token mixer, then `mlp` after the group norm `norm2`, with residuals and layer scales.

    Pooling mixes as `layer_scale1 * (mean over the window - centre)` of the map that `norm1` gives. In deploy
    form `layer_scale1` is inside `norm1` (the mixer is linear and the same for each channel, so that scaling
    before is scaling after; the alternative, a depthwise convolution, is not equal where the window meets the
    border), and `layer_scale2` inside `mlp.fc2`. RepMixer is `token_mixer`.
    """

    config: MetaFormerConfig
    features: int
    drop_path: float
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> FeatureMap:
        config, c, form = self.config, self.features, self.form
        if config.token_mixer == REP_MIXER:
            mixer = RepMixer(c, config.mixer_kernel, config.layer_scale, form, name="token_mixer")
            x = mixer(x, train=train)
        else:
            y = GroupNorm(c, GROUP_NORM_EPSILON, form, name="norm1")(x)
            y = self._scale(avg_pool2d(y, config.mixer_kernel, 1, padding=config.mixer_kernel // 2) - y, 1)
            x = x + DropPath(self.drop_path, name="drop_mixer")(y, train=train)
        y = GroupNorm(c, GROUP_NORM_EPSILON, form, name="norm2")(x)
        y = ConvMlp(c, int(c * config.mlp_ratio), form, gelu, name="mlp")(y)
        return x + DropPath(self.drop_path, name="drop_mlp")(self._scale(y, 2), train=train)

    def _scale(self, y: FeatureMap, number: int) -> FeatureMap:
        if self.form.deploy:
            return y
        return LayerScale(self.features, self.config.layer_scale, self.form, name=f"layer_scale{number}")(y)


class Stage(nn.Module):
    """`downsample` (3x3, stride 2; not in the first stage), then `block1`, `block2`, ...; `index` from 0."""

    config: MetaFormerConfig
    index: int
    drop_path: tuple[float, ...]
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> FeatureMap:
        config, i, form = self.config, self.index, self.form
        if i:
            x = Conv(config.widths[i - 1], config.widths[i], 3, 2, 1, form=form, name="downsample")(x)
        for number, rate in enumerate(self.drop_path, start=1):
            x = Block(config, config.widths[i], rate, form, name=f"block{number}")(x, train=train)
        return x


class MetaFormer(Backbone):
    """MetaFormer image classifier; `config` is a `MetaFormerConfig`.

    Takes any image size. The stem, a 7x7 convolution of stride 4 with padding 2, leaves out rows and columns
    at the lower and right border that do not fill a step, as the reference does.
    """

    config: MetaFormerConfig = MetaFormerConfig()

    @nn.compact
    def features(self, images: FeatureMap, *, train: bool = False, tail: bool = True) -> Features:
        config = self.config
        check_images(images, config.in_channels)
        form = Form(self.dtype, self.deploy, self.axis_name, KERNEL_INIT)
        stem = Conv(config.in_channels, config.widths[0], 7, 4, 2, form=form, name="stem")
        out: Features = {}
        x = out["stem"] = stem(images.astype(self.dtype))
        rates = drop_path_rates(config.drop_path_rate, sum(config.depths))
        for i, depth in enumerate(config.depths):
            stage_rates, rates = rates[:depth], rates[depth:]
            x = out[f"stage{i + 1}"] = Stage(config, i, stage_rates, form, name=f"stage{i + 1}")(
                x, train=train
            )
        if not tail:
            return out
        c = config.widths[-1]
        out["pre_logits"] = LayerNorm(c, HEAD_EPSILON, form, name="norm")(global_avg_pool(x))
        if config.num_classes:
            out["logits"] = Dense(c, config.num_classes, form, name="head")(out["pre_logits"])
        return out
