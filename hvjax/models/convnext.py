"""ConvNeXt (Liu et al., arXiv 2201.03545).

Matched against timm 1.0.31 (timm/models/convnext.py) and facebookresearch/ConvNeXt models/convnext.py, which
share their numbers and differ in names.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import accumulate

from flax import linen as nn
from jaxtyping import Array, Float

from hvjax.blocks.form import Form
from hvjax.blocks.initializers import normal
from hvjax.blocks.layer_norm import LayerNorm
from hvjax.blocks.layers import Conv, Dense, DropPath, LayerScale
from hvjax.blocks.mlp import Mlp
from hvjax.models.features import Backbone, Features, check_images, drop_path_rates
from hvjax.models.numbers import check_integer, check_integers, check_positive, check_rate
from hvjax.ops.pooling import global_avg_pool

FeatureMap = Float[Array, "b h w c"]

STAGES = 4
EPSILON = 1e-6  # of every layer norm
# The reference draws from a normal of standard deviation 0.02 cut off at +-2, which is 100 deviations: not
# cut at all.
KERNEL_INIT = normal(0.02)


@dataclass(frozen=True)
class ConvNeXtConfig:
    """One variant of ConvNeXt. The defaults are ConvNeXt-T.

    Attributes:
      num_classes: size of the head; 0 for no head.
      in_channels: channels of the images.
      drop_path_rate: stochastic depth of the last block, rising linearly from 0.
      depths: blocks of each stage.
      widths: channels of each stage.
      patch_size: side and stride of the stem's convolution.
      kernel_size: side of the depthwise convolutions, odd.
      mlp_ratio: hidden channels of the blocks over their channels.
      layer_scale: start value of the layer scales.

    Raises:
      ValueError: if the numbers do not fit together.
    """

    num_classes: int = 1000
    in_channels: int = 3
    drop_path_rate: float = 0.1
    depths: tuple[int, ...] = (3, 3, 9, 3)
    widths: tuple[int, ...] = (96, 192, 384, 768)
    patch_size: int = 4
    kernel_size: int = 7
    mlp_ratio: float = 4.0
    layer_scale: float = 1e-6

    def __post_init__(self) -> None:
        for field in fields(self):  # lists, as JSON and config files give them, are fine too
            value = getattr(self, field.name)
            object.__setattr__(self, field.name, tuple(value) if isinstance(value, list) else value)
        for name in ("depths", "widths"):
            check_integers(name, getattr(self, name), 1, STAGES)
        for name, least in (("num_classes", 0), ("in_channels", 1), ("patch_size", 1), ("kernel_size", 1)):
            check_integer(name, getattr(self, name), least)
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size={self.kernel_size}: expected an odd number")
        check_rate("drop_path_rate", self.drop_path_rate)
        check_positive("mlp_ratio", self.mlp_ratio)
        check_positive("layer_scale", self.layer_scale)

    @property
    def least_size(self) -> int:
        """Pixels of the smallest side that leaves stage 4 a pixel; each stride drops what is left over."""
        return self.patch_size * 2 ** (STAGES - 1)


class Block(nn.Module):
    """Depthwise `conv`, `norm`, `mlp`, scaled by `layer_scale`, added to the input (figure 4).

    In deploy form the layer scale is inside `mlp.fc2`.
    """

    config: ConvNeXtConfig
    features: int
    drop_path: float
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> FeatureMap:
        c, k, form = self.features, self.config.kernel_size, self.form
        branch = Conv(c, c, k, padding=k // 2, groups=c, form=form, name="conv")(x)
        branch = LayerNorm(c, EPSILON, form, name="norm")(branch)
        branch = Mlp(c, int(c * self.config.mlp_ratio), form, name="mlp")(branch)
        if not form.deploy:
            branch = LayerScale(c, self.config.layer_scale, form, name="layer_scale")(branch)
        return x + DropPath(self.drop_path, name="drop")(branch, train=train)


class Downsample(nn.Module):
    """`norm`, then 2x2 convolution of stride 2; a last odd row or column is dropped."""

    in_features: int
    features: int
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap) -> FeatureMap:
        x = LayerNorm(self.in_features, EPSILON, self.form, name="norm")(x)
        return Conv(self.in_features, self.features, 2, stride=2, form=self.form, name="conv")(x)


class Stem(nn.Module):
    """Convolution over patches, then `norm`; rows and columns that make no whole patch are dropped."""

    config: ConvNeXtConfig
    form: Form

    @nn.compact
    def __call__(self, images: FeatureMap) -> FeatureMap:
        config, c, p = self.config, self.config.widths[0], self.config.patch_size
        x = Conv(config.in_channels, c, p, stride=p, form=self.form, name="conv")(images)
        return LayerNorm(c, EPSILON, self.form, name="norm")(x)


class Stage(nn.Module):
    """`downsample` (not in stage 1), then the blocks of one resolution, `block1`, `block2`, ..."""

    config: ConvNeXtConfig
    index: int
    drop_path: tuple[float, ...]
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> FeatureMap:
        config, i = self.config, self.index
        width = config.widths[i]
        if i:
            x = Downsample(config.widths[i - 1], width, self.form, name="downsample")(x)
        for number, rate in enumerate(self.drop_path, 1):
            x = Block(config, width, rate, self.form, name=f"block{number}")(x, train=train)
        return x


class ConvNeXt(Backbone):
    """ConvNeXt image classifier; `config` is a `ConvNeXtConfig`.

    Takes any image size from 32x32 (for patches of 4 pixels). There is no batch norm, so that variables hold
    "params" alone.
    """

    config: ConvNeXtConfig = ConvNeXtConfig()

    @nn.compact
    def features(self, images: FeatureMap, *, train: bool = False, tail: bool = True) -> Features:
        config = self.config
        check_images(images, config.in_channels)
        height, width = images.shape[1:3]
        if min(height, width) < config.least_size:
            least = f"{max(height, config.least_size)}x{max(width, config.least_size)}"
            raise ValueError(
                f"images of {height}x{width} are too small for this ConvNeXt; the nearest size that works is "
                f"{least}"
            )
        form = Form(self.dtype, self.deploy, self.axis_name, KERNEL_INIT)
        out: Features = {}
        x = out["stem"] = Stem(config, form, name="stem")(images.astype(self.dtype))
        rates = drop_path_rates(config.drop_path_rate, sum(config.depths))
        for i, end in enumerate(accumulate(config.depths)):
            stage_rates = rates[end - config.depths[i] : end]
            stage = Stage(config, i, stage_rates, form, name=f"stage{i + 1}")
            x = out[f"stage{i + 1}"] = stage(x, train=train)
        if not tail:
            return out
        c = config.widths[-1]
        out["pre_logits"] = LayerNorm(c, EPSILON, form, name="norm")(global_avg_pool(x))
        if config.num_classes:
            out["logits"] = Dense(c, config.num_classes, form, name="head")(out["pre_logits"])
        return out
