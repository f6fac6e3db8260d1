"""RegNetY (Radosavovic et al., arXiv 2003.13678).

Matched against timm 1.0.31 (timm/models/regnet.py). RegNetY-16GF with the weights of DeiT's authors is the
teacher that FastViT was distilled from.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, fields
from itertools import accumulate

import jax
from flax import linen as nn
from jaxtyping import Array, Float

from hvjax.blocks.batch_norm import BatchNorm
from hvjax.blocks.form import Form
from hvjax.blocks.initializers import kaiming_normal_fan_out, normal
from hvjax.blocks.layers import Conv, ConvNorm, Dense, DropPath
from hvjax.blocks.squeeze_excite import SqueezeExcite
from hvjax.models.features import Backbone, Features, check_images, drop_path_rates
from hvjax.models.numbers import check_integer, check_integers, check_positive, check_rate
from hvjax.ops.pooling import global_avg_pool

FeatureMap = Float[Array, "b h w c"]

STAGES = 4
KERNEL_INIT = kaiming_normal_fan_out()
HEAD_INIT = normal(0.01)
QUANTUM = 8  # widths are multiples of this before they are fitted to the groups


@dataclass(frozen=True)
class RegNetYConfig:
    """One variant of RegNetY. The defaults are RegNetY-16GF.

    Attributes:
      num_classes: size of the head; 0 for no head.
      in_channels: channels of the images.
      drop_path_rate: stochastic depth of the last block, rising linearly from 0; the reference has none.
      depths, widths: blocks and channels of each stage (`linear_design` makes them of the paper's numbers).
      group_width: channels per group of the 3x3 convolutions; must divide the widths.
      squeeze_ratio: hidden channels of squeeze-and-excitation over the channels that enter the block.
      stem_channels: channels of the first convolution.

    Raises:
      ValueError: if the numbers do not fit together.
    """

    num_classes: int = 1000
    in_channels: int = 3
    drop_path_rate: float = 0.0
    depths: tuple[int, ...] = (2, 4, 11, 1)
    widths: tuple[int, ...] = (224, 448, 1232, 3024)
    group_width: int = 112
    squeeze_ratio: float = 0.25
    stem_channels: int = 32

    def __post_init__(self) -> None:
        for field in fields(self):  # lists, as JSON and config files give them, are fine too
            value = getattr(self, field.name)
            object.__setattr__(self, field.name, tuple(value) if isinstance(value, list) else value)
        for name in ("depths", "widths"):
            check_integers(name, getattr(self, name), 1, STAGES)
        for name, least in (
            ("num_classes", 0),
            ("in_channels", 1),
            ("group_width", 1),
            ("stem_channels", 1),
        ):
            check_integer(name, getattr(self, name), least)
        check_rate("drop_path_rate", self.drop_path_rate)
        check_positive("squeeze_ratio", self.squeeze_ratio)
        if any(width % self.group_width for width in self.widths):
            raise ValueError(f"widths={self.widths}: expected multiples of group_width={self.group_width}")


def linear_design(
    initial: int, slope: float, multiplier: float, depth: int, group_width: int
) -> dict[str, tuple[int, ...]]:
    """Depths and widths of a RegNet: its four numbers w0, wa, wm and d (section 3.3, equations 2 to 4).

    Block j is meant to have `initial + slope * j` channels. That is rounded to the nearest power of
    `multiplier` times `initial`, then to a multiple of 8, and at last to one of `group_width`; blocks of the
    same width make a stage.

    Returns:
      `{"depths": ..., "widths": ...}`, fields of the config.

    Raises:
      ValueError: if that does not make four stages.
    """
    powers = (round(math.log(1 + slope * j / initial, multiplier)) for j in range(depth))
    blocks = Counter(round(initial * multiplier**power / QUANTUM) * QUANTUM for power in powers)
    if len(blocks) != STAGES:
        raise ValueError(
            f"these numbers make {len(blocks)} stages of widths {tuple(blocks)}: expected {STAGES}"
        )
    fitted = tuple(int(round(width / group_width) * group_width) for width in blocks)
    return {"depths": tuple(blocks.values()), "widths": fitted}


class Block(nn.Module):
    """1x1, grouped 3x3 and 1x1 convolution with norms, squeeze-and-excitation before the last (the Y block).

    Children `conv1`, `norm1`, ..., `se`, and `shortcut` where the shape changes.

    Attributes: in_features and features, channels before and after; stride, 1 or 2; drop_path, rate of the
    branch.
    """

    config: RegNetYConfig
    in_features: int
    features: int
    stride: int
    drop_path: float
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> FeatureMap:
        before, c, form, config = self.in_features, self.features, self.form, self.config
        y = Conv(before, c, use_bias=form.deploy, form=form, name="conv1")(x)
        y = jax.nn.relu(self._norm(y, "norm1", train))
        conv2 = Conv(
            c,
            c,
            3,
            self.stride,
            1,
            c // config.group_width,
            use_bias=form.deploy,
            form=form,
            kernel_init=normal(math.sqrt(2 / (9 * config.group_width))),
            name="conv2",
        )
        y = jax.nn.relu(self._norm(conv2(y), "norm2", train))
        y = SqueezeExcite(c, max(1, round(before * config.squeeze_ratio)), form, name="se")(y)
        y = Conv(c, c, use_bias=form.deploy, form=form, name="conv3")(y)
        y = self._norm(y, "norm3", train)
        if self.stride != 1 or before != c:
            x = ConvNorm(before, c, stride=self.stride, form=form, name="shortcut")(x, train=train)
        return jax.nn.relu(x + DropPath(self.drop_path, name="drop")(y, train=train))

    def _norm(self, x: FeatureMap, name: str, train: bool) -> FeatureMap:
        if self.form.deploy:
            return x
        # The last norm starts at zero, so that each block starts as its shortcut, as in timm.
        scale_init = nn.initializers.zeros if name == "norm3" else nn.initializers.ones
        return BatchNorm(self.features, form=self.form, scale_init=scale_init, name=name)(x, train=train)


class Stage(nn.Module):
    """The blocks of one resolution, `block1`, `block2`, ...; the first has stride 2."""

    config: RegNetYConfig
    in_features: int
    features: int
    drop_path: tuple[float, ...]
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> FeatureMap:
        for i, rate in enumerate(self.drop_path):
            before, stride = (self.features, 1) if i else (self.in_features, 2)
            block = Block(self.config, before, self.features, stride, rate, self.form, name=f"block{i + 1}")
            x = block(x, train=train)
        return x


class RegNetY(Backbone):
    """RegNetY image classifier; `config` is a `RegNetYConfig`. Takes any image size."""

    config: RegNetYConfig = RegNetYConfig()

    @nn.compact
    def features(self, images: FeatureMap, *, train: bool = False, tail: bool = True) -> Features:
        config = self.config
        check_images(images, config.in_channels)
        form = Form(self.dtype, self.deploy, self.axis_name, KERNEL_INIT)
        c = config.stem_channels
        stem = ConvNorm(config.in_channels, c, 3, 2, 1, form=form, name="stem")
        out: Features = {}
        x = out["stem"] = jax.nn.relu(stem(images.astype(self.dtype), train=train))
        rates = drop_path_rates(config.drop_path_rate, sum(config.depths))
        for i, (width, end) in enumerate(zip(config.widths, accumulate(config.depths), strict=True)):
            stage_rates = rates[end - config.depths[i] : end]
            stage = Stage(config, c, width, stage_rates, form, name=f"stage{i + 1}")
            x = out[f"stage{i + 1}"] = stage(x, train=train)
            c = width
        if not tail:
            return out
        out["pre_logits"] = global_avg_pool(x)
        if config.num_classes:
            out["logits"] = Dense(c, config.num_classes, form, HEAD_INIT, name="head")(out["pre_logits"])
        return out
