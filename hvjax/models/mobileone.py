"""MobileOne (Vasu et al., arXiv 2206.04040).

Matched against timm 1.0.31, timm/models/byobnet.py, which has the numbers of the official code,
apple/ml-mobileone mobileone.py.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial

import jax
from flax import linen as nn
from jaxtyping import Array, Float

from hvjax.blocks.form import Form
from hvjax.blocks.initializers import uniform_fan_in, uniform_within
from hvjax.blocks.layers import Dense
from hvjax.blocks.rep_conv import RepConv
from hvjax.models.features import Backbone, Features, check_images, drop_path_rates
from hvjax.models.numbers import check_integer, check_integers, check_positive, check_rate
from hvjax.ops.pooling import global_avg_pool

FeatureMap = Float[Array, "b h w c"]

STAGES = 4
KERNEL_INIT = uniform_fan_in()  # as PyTorch starts convolutions, which the official code leaves as they are


@dataclass(frozen=True)
class MobileOneConfig:
    """One variant of MobileOne (arXiv 2206.04040, tables 3 and 4). The defaults are MobileOne-S0.

    The paper counts the stem as stage 1 and splits the fourth resolution in two stages; here its stages 2, 3,
    4 + 5 and 6 are stages 1 to 4.

    Attributes:
      num_classes: size of the head; 0 for no head.
      in_channels: channels of the images.
      drop_path_rate: stochastic depth of the last block, rising linearly from 0; the reference has none. It
        acts on blocks whose input and output have one shape.
      depths: pairs of a depthwise and a 1x1 block in each stage; the first depthwise block has stride 2.
      widths: channels of each stage.
      stem_channels: channels of the stem.
      branches: over-parameterisation, number of parallel convolutions of each block (the stem has one).
      se_blocks: pairs at the end of each stage that have squeeze-and-excitation.
      se_ratio: hidden channels of squeeze-and-excitation over its channels.
      se_divisor: they are rounded to a multiple of this, at least one of it; timm takes 8, the official code
        none, which makes no difference to the published variants.

    Raises:
      ValueError: if the numbers do not fit together.
    """

    num_classes: int = 1000
    in_channels: int = 3
    drop_path_rate: float = 0.0
    depths: tuple[int, ...] = (2, 8, 10, 1)
    widths: tuple[int, ...] = (48, 128, 256, 1024)
    stem_channels: int = 48
    branches: int = 4
    se_blocks: tuple[int, ...] = (0, 0, 0, 0)
    se_ratio: float = 1 / 16
    se_divisor: int = 1

    def __post_init__(self) -> None:
        for field in fields(self):  # lists, as JSON and config files give them, are fine too
            value = getattr(self, field.name)
            object.__setattr__(self, field.name, tuple(value) if isinstance(value, list) else value)
        integers = (("num_classes", 0), ("in_channels", 1), ("stem_channels", 1), ("branches", 1))
        for name, least in integers:
            check_integer(name, getattr(self, name), least)
        for name, least in (("depths", 1), ("widths", 1), ("se_blocks", 0)):
            check_integers(name, getattr(self, name), least, STAGES)
        check_rate("drop_path_rate", self.drop_path_rate)
        check_positive("se_ratio", self.se_ratio)
        check_integer("se_divisor", self.se_divisor, 1)
        if any(se > depth for se, depth in zip(self.se_blocks, self.depths, strict=True)):
            raise ValueError(f"se_blocks={self.se_blocks!r}: expected at most depths={self.depths!r}")


class Block(nn.Module):
    """A `depthwise` 3x3 and a `pointwise` 1x1 MobileOne block, each with ReLU.

    Attributes: in_features and features, channels before and after; stride of the first; squeeze, whether
    both have squeeze-and-excitation; drop_path, the rates of the two.
    """

    config: MobileOneConfig
    in_features: int
    features: int
    stride: int
    squeeze: bool
    drop_path: tuple[float, ...]
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> FeatureMap:
        cin, cout = self.in_features, self.features
        unit = partial(RepConv, branches=self.config.branches, activation=jax.nn.relu, form=self.form)
        first, second = self.drop_path
        x = unit(
            cin, cin, 3, self.stride, cin, se_hidden=self._hidden(cin), drop_path=first, name="depthwise"
        )(x, train=train)
        return unit(cin, cout, 1, se_hidden=self._hidden(cout), drop_path=second, name="pointwise")(
            x, train=train
        )

    def _hidden(self, channels: int) -> int:
        divisor = self.config.se_divisor
        rounded = int(channels * self.config.se_ratio + divisor / 2) // divisor * divisor
        return max(divisor, rounded) if self.squeeze else 0


class Stage(nn.Module):
    """The blocks of one resolution, `block1`, `block2`, ...; `index` counts stages from 0."""

    config: MobileOneConfig
    index: int
    drop_path: tuple[float, ...]
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> FeatureMap:
        config, i = self.config, self.index
        before, after = (config.stem_channels, *config.widths)[i : i + 2]
        for number in range(config.depths[i]):
            x = Block(
                config,
                before if number == 0 else after,
                after,
                2 if number == 0 else 1,
                number >= config.depths[i] - config.se_blocks[i],
                self.drop_path[2 * number : 2 * number + 2],
                self.form,
                name=f"block{number + 1}",
            )(x, train=train)
        return x


class MobileOne(Backbone):
    """MobileOne image classifier; `config` is a `MobileOneConfig`. Takes any image size.

    The stem has stride 2, stages 1 to 4 strides 4, 8, 16 and 32.
    """

    config: MobileOneConfig = MobileOneConfig()

    @nn.compact
    def features(self, images: FeatureMap, *, train: bool = False, tail: bool = True) -> Features:
        config = self.config
        check_images(images, config.in_channels)
        form = Form(self.dtype, self.deploy, self.axis_name, KERNEL_INIT)
        stem = RepConv(
            config.in_channels, config.stem_channels, 3, 2, activation=jax.nn.relu, form=form, name="stem"
        )
        out: Features = {}
        x = out["stem"] = stem(images.astype(self.dtype), train=train)
        rates = drop_path_rates(config.drop_path_rate, 2 * sum(config.depths))
        for i, depth in enumerate(config.depths):
            stage_rates, rates = rates[: 2 * depth], rates[2 * depth :]
            x = out[f"stage{i + 1}"] = Stage(config, i, stage_rates, form, name=f"stage{i + 1}")(
                x, train=train
            )
        if not tail:
            return out
        out["pre_logits"] = global_avg_pool(x)
        if config.num_classes:
            c = config.widths[-1]
            start = uniform_within(c**-0.5)  # kernel and bias, as PyTorch starts its linear layers
            head = Dense(c, config.num_classes, form, start, start, name="head")
            out["logits"] = head(out["pre_logits"])
        return out
