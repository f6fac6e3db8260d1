"""PVT, the Pyramid Vision Transformer in its first version (Wang et al., arXiv 2102.12122).

Matched against the official code, whai362/PVT classification/pvt.py at 332805170455.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import accumulate

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from hvjax.blocks.form import Form
from hvjax.blocks.initializers import normal, uniform_fan_in, uniform_within
from hvjax.blocks.layer_norm import LayerNorm
from hvjax.blocks.layers import Conv, Dense, DropPath
from hvjax.blocks.mlp import Mlp
from hvjax.blocks.spatial_reduction import SpatialReductionAttention
from hvjax.models.features import Backbone, Features, check_images, drop_path_rates
from hvjax.models.numbers import check_integer, check_integers, check_positive, check_rate

FeatureMap = Float[Array, "b h w c"]

PATCHES = (4, 2, 2, 2)  # pixels a side of each stage's patches
EPSILON = 1e-6  # of the norms in and after the blocks
PATCH_EPSILON = 1e-5  # of those after the patch embeddings: PyTorch's default there
LINEAR_INIT = normal(0.02)  # tables of positions and the class token too


@dataclass(frozen=True)
class PVTConfig:
    """One variant of PVT (arXiv 2102.12122, table 1). The defaults are PVT-Small.

    Attributes:
      num_classes: size of the head; 0 for no head.
      in_channels: channels of the images.
      drop_path_rate: stochastic depth of the last block; it rises linearly from 0 at the first.
      image_size: (height, width) of the images in pixels; one number for square ones. The tables of positions
        depend on it. Rows and columns that do not fill a patch are left out.
      depths: blocks of each stage.
      widths: channels of each stage.
      heads: attention heads of each stage.
      mlp_ratios: hidden channels of the MLPs over those of the stage.
      reduction_ratios: in each stage, keys and values come from patches of s*s tokens; 1 in the last, which
        has a class token.

    Raises:
      ValueError: if the numbers do not fit together.
    """

    num_classes: int = 1000
    in_channels: int = 3
    drop_path_rate: float = 0.1
    image_size: tuple[int, int] = (224, 224)
    depths: tuple[int, ...] = (3, 4, 6, 3)
    widths: tuple[int, ...] = (64, 128, 320, 512)
    heads: tuple[int, ...] = (1, 2, 5, 8)
    mlp_ratios: tuple[float, ...] = (8, 8, 4, 4)
    reduction_ratios: tuple[int, ...] = (8, 4, 2, 1)

    def __post_init__(self) -> None:
        for field in fields(self):  # lists, as JSON and config files give them, are fine too
            value = getattr(self, field.name)
            object.__setattr__(self, field.name, tuple(value) if isinstance(value, list) else value)
        if not isinstance(self.image_size, tuple):
            object.__setattr__(self, "image_size", (self.image_size,) * 2)
        check_integers("image_size", self.image_size, 1, 2)
        for name in ("depths", "widths", "heads", "reduction_ratios"):
            check_integers(name, getattr(self, name), 1, len(PATCHES))
        check_integer("num_classes", self.num_classes, 0)
        check_integer("in_channels", self.in_channels, 1)
        check_rate("drop_path_rate", self.drop_path_rate)
        if not isinstance(self.mlp_ratios, tuple) or len(self.mlp_ratios) != len(PATCHES):
            raise ValueError(f"mlp_ratios={self.mlp_ratios!r}: expected {len(PATCHES)} numbers > 0")
        for ratio in self.mlp_ratios:
            check_positive("mlp_ratios", ratio)
        if any(width % heads for width, heads in zip(self.widths, self.heads, strict=True)):
            raise ValueError(f"widths={self.widths!r}: expected multiples of heads={self.heads!r}")
        if self.reduction_ratios[-1] != 1:
            raise ValueError(
                f"reduction_ratios={self.reduction_ratios!r}: expected 1 in the last stage, whose class "
                "token has no place in the map"
            )
        least = self.smallest_side()
        if min(self.image_size) < least:
            raise ValueError(f"image_size={self.image_size!r}: expected at least {least} pixels a side")

    def grid(self, stage: int) -> tuple[int, int]:
        """Rows and columns of tokens in a stage, counted from 0."""
        side = self.stride(stage)
        return self.image_size[0] // side, self.image_size[1] // side

    def stride(self, stage: int) -> int:
        """Pixels of the image per token and side."""
        return list(accumulate(PATCHES, lambda a, b: a * b))[stage]

    def smallest_side(self) -> int:
        """Pixels a side from which each attention has a key."""
        return max(self.stride(i) * ratio for i, ratio in enumerate(self.reduction_ratios))


class PatchEmbed(nn.Module):
    """Convolution with kernel = stride = `patch` (`proj`), then layer norm (`norm`)."""

    in_features: int
    features: int
    patch: int
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap) -> FeatureMap:
        bias_init = uniform_within((self.patch**2 * self.in_features) ** -0.5)
        x = Conv(
            self.in_features,
            self.features,
            self.patch,
            self.patch,
            form=self.form,
            bias_init=bias_init,
            name="proj",
        )(x)
        return LayerNorm(self.features, PATCH_EPSILON, self.form, name="norm")(x)


class Block(nn.Module):
    """Pre-norm Transformer block: `norm1`, `attn`, `norm2`, `mlp` (section 3.3)."""

    config: PVTConfig
    index: int
    drop_path: float
    form: Form

    @nn.compact
    def __call__(self, x: Float[Array, "b n c"], *, train: bool = False) -> Float[Array, "b n c"]:
        config, i, form = self.config, self.index, self.form
        c, ratio = config.widths[i], config.reduction_ratios[i]
        y = LayerNorm(c, EPSILON, form, name="norm1")(x)
        y = SpatialReductionAttention(
            c,
            config.heads[i],
            ratio,
            form,
            kernel_init=LINEAR_INIT,
            reduction_bias_init=uniform_within((ratio**2 * c) ** -0.5),
            name="attn",
        )(y, config.grid(i))
        x = x + DropPath(self.drop_path, name="drop_attn")(y, train=train)
        y = LayerNorm(c, EPSILON, form, name="norm2")(x)
        y = Mlp(c, int(c * config.mlp_ratios[i]), form, LINEAR_INIT, name="mlp")(y)
        return x + DropPath(self.drop_path, name="drop_mlp")(y, train=train)


class Stage(nn.Module):
    """Positions (`pos_embed`) and blocks of one resolution, `block1`, ...; `index` counts from 0.

    Takes a map and gives tokens. In the last stage there is one more, `cls_token`, the first one, also in
    `pos_embed`.
    """

    config: PVTConfig
    index: int
    drop_path: tuple[float, ...]
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> Float[Array, "b n c"]:
        b, h, w, c = x.shape
        last = self.index == len(PATCHES) - 1
        tokens = x.reshape(b, h * w, c)
        if last:
            token = self.param("cls_token", LINEAR_INIT, (c,), jnp.float32).astype(x.dtype)
            tokens = jnp.concatenate([jnp.broadcast_to(token, (b, 1, c)), tokens], axis=1)
        positions = self.param("pos_embed", LINEAR_INIT, (h * w + last, c), jnp.float32)
        tokens = tokens + positions.astype(x.dtype)
        for number, rate in enumerate(self.drop_path, start=1):
            tokens = Block(self.config, self.index, rate, self.form, name=f"block{number}")(
                tokens, train=train
            )
        return tokens


class PVT(Backbone):
    """PVT image classifier; `config` is a `PVTConfig`. Training and deploy form are the same.

    Takes images of `config.image_size` only, because positions are learned. The feature "stem" is the first
    patch embedding before positions are added; "stage4" is the map without the class token, which, normed,
    is "pre_logits".
    """

    config: PVTConfig = PVTConfig()

    @nn.compact
    def features(self, images: FeatureMap, *, train: bool = False, tail: bool = True) -> Features:
        config = self.config
        check_images(images, config.in_channels)
        _check_size(self, images.shape[1], images.shape[2])
        form = Form(self.dtype, self.deploy, self.axis_name, uniform_fan_in())
        out: Features = {}
        x = tokens = images.astype(self.dtype)
        before = config.in_channels
        rates = drop_path_rates(config.drop_path_rate, sum(config.depths))
        for i, end in enumerate(accumulate(config.depths)):
            c = config.widths[i]
            x = PatchEmbed(before, c, PATCHES[i], form, name=f"patch_embed{i + 1}")(x)
            out.setdefault("stem", x)
            stage = Stage(config, i, rates[end - config.depths[i] : end], form, name=f"stage{i + 1}")
            tokens = stage(x, train=train)
            others = tokens.shape[1] - x.shape[1] * x.shape[2]  # the class token, where there is one
            x = out[f"stage{i + 1}"] = (tokens[:, others:] if others else tokens).reshape(x.shape)
            before = c
        if not tail:
            return out
        out["pre_logits"] = LayerNorm(before, EPSILON, form, name="norm")(tokens[:, 0])
        if config.num_classes:
            out["logits"] = Dense(before, config.num_classes, form, LINEAR_INIT, name="head")(
                out["pre_logits"]
            )
        return out


def _check_size(model: PVT, height: int, width: int) -> None:
    """Raise ValueError unless the tables of positions are for images of this size."""
    config = model.config
    if (height, width) == config.image_size:
        return
    own, least = config.image_size, config.smallest_side()
    size = max(height, least), max(width, least)
    what = "for them" if size == (height, width) else "for the nearest possible size"
    raise ValueError(
        f"images are {height}x{width} pixels, the positions of this model are of {own[0]}x{own[1]}: a model "
        f"{what} is hvjax.create_model({model.variant or 'NAME'!r}, image_size={size})"
    )
