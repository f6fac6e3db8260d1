"""ResNet with bottleneck blocks (He et al., arXiv 1512.03385), the stride on the 3x3 convolution.

Matched against timm 1.0.31 and torchvision, which share names and numbers ("ResNet v1.5").
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import accumulate

import jax
from flax import linen as nn
from jaxtyping import Array, Float

from hvjax.blocks.bottleneck import EXPANSION, Bottleneck
from hvjax.blocks.form import Form
from hvjax.blocks.initializers import kaiming_normal_fan_out, uniform_within
from hvjax.blocks.layers import ConvNorm, Dense
from hvjax.models.features import Backbone, Features, check_images, drop_path_rates
from hvjax.models.numbers import check_integer, check_integers, check_rate
from hvjax.ops.pooling import global_avg_pool, max_pool2d

FeatureMap = Float[Array, "b h w c"]

STRIDES = (1, 2, 2, 2)
KERNEL_INIT = kaiming_normal_fan_out()


@dataclass(frozen=True)
class ResNetConfig:
    """One variant of ResNet. The defaults are ResNet-50.

    Attributes:
      num_classes: size of the head; 0 for no head.
      in_channels: channels of the images.
      drop_path_rate: stochastic depth of the last block, rising linearly from 0; the reference has none.
      depths: blocks of each stage.
      widths: inner channels of the blocks of each stage; they give out four times as many.
      stem_channels: channels of the 7x7 convolution.

    Raises:
      ValueError: if the numbers do not fit together.
    """

    num_classes: int = 1000
    in_channels: int = 3
    drop_path_rate: float = 0.0
    depths: tuple[int, ...] = (3, 4, 6, 3)
    widths: tuple[int, ...] = (64, 128, 256, 512)
    stem_channels: int = 64

    def __post_init__(self) -> None:
        for field in fields(self):  # lists, as JSON and config files give them, are fine too
            value = getattr(self, field.name)
            object.__setattr__(self, field.name, tuple(value) if isinstance(value, list) else value)
        for name in ("depths", "widths"):
            check_integers(name, getattr(self, name), 1, len(STRIDES))
        for name, least in (("num_classes", 0), ("in_channels", 1), ("stem_channels", 1)):
            check_integer(name, getattr(self, name), least)
        check_rate("drop_path_rate", self.drop_path_rate)


class Stage(nn.Module):
    """The blocks of one resolution, `block1`, `block2`, ...; the first has the stride and the projection."""

    in_features: int
    width: int
    stride: int
    drop_path: tuple[float, ...]
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> FeatureMap:
        for i, rate in enumerate(self.drop_path):
            before = self.in_features if i == 0 else EXPANSION * self.width
            stride = self.stride if i == 0 else 1
            block = Bottleneck(before, self.width, stride, i == 0, rate, self.form, name=f"block{i + 1}")
            x = block(x, train=train)
        return x


class ResNet(Backbone):
    """ResNet image classifier; `config` is a `ResNetConfig`. Takes any image size."""

    config: ResNetConfig = ResNetConfig()

    @nn.compact
    def features(self, images: FeatureMap, *, train: bool = False, tail: bool = True) -> Features:
        config = self.config
        check_images(images, config.in_channels)
        form = Form(self.dtype, self.deploy, self.axis_name, KERNEL_INIT)
        c = config.stem_channels
        stem = ConvNorm(config.in_channels, c, 7, 2, 3, form=form, name="stem")
        x = jax.nn.relu(stem(images.astype(self.dtype), train=train))
        out: Features = {}
        x = out["stem"] = max_pool2d(x, 3, 2, padding=1)
        rates = drop_path_rates(config.drop_path_rate, sum(config.depths))
        ends = tuple(accumulate(config.depths))
        for i, (width, end) in enumerate(zip(config.widths, ends, strict=True)):
            stage_rates = rates[end - config.depths[i] : end]
            stage = Stage(c, width, STRIDES[i], stage_rates, form, name=f"stage{i + 1}")
            x = out[f"stage{i + 1}"] = stage(x, train=train)
            c = EXPANSION * width
        if not tail:
            return out
        out["pre_logits"] = global_avg_pool(x)
        if config.num_classes:
            start = uniform_within(c**-0.5)  # kernel and bias, as PyTorch starts its linear layers
            head = Dense(c, config.num_classes, form, start, start, name="head")
            out["logits"] = head(out["pre_logits"])
        return out
