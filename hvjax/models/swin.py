"""Swin Transformer (Liu et al., arXiv 2103.14030).

Matched against the official code, microsoft/Swin-Transformer models/swin_transformer.py at f82860bfb522. That
file takes one image size per model. For other sizes, here as in the authors' code for detection and
segmentation (SwinTransformer/Swin-Transformer-Object-Detection mmdet/models/backbones/swin_transformer.py),
a map that the windows do not divide is completed with zeros after the first norm of each block, then rolled,
and a map with an odd side is completed before patch merging. These zeros are tokens that attention sees.

Along an axis on which the map is no longer than a window, the window is as long as the map and is not
shifted. The official code for classification has the same rule, but decides by the shorter side for both
axes, and then also shrinks its table of relative positions, so that the parameters depend on the image size;
timm 1.0.31, which decides axis by axis like this module, interpolates the table. Here the smaller window uses
the matching offsets of the whole table. The authors' code for detection completes the map to one whole window
instead. timm also differs where it completes maps: it rolls them first, so that its masks do not part
opposite borders.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import accumulate
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from hvjax.blocks.form import Form
from hvjax.blocks.initializers import normal, uniform_fan_in, uniform_within
from hvjax.blocks.layer_norm import LayerNorm
from hvjax.blocks.layers import Conv, Dense, DropPath
from hvjax.blocks.mlp import Mlp
from hvjax.models.features import Backbone, Features, check_images, drop_path_rates
from hvjax.models.numbers import check_integer, check_integers, check_positive, check_rate
from hvjax.ops.attention import windowed_attention
from hvjax.ops.pooling import global_avg_pool
from hvjax.ops.windows import Windows, merge_patches, relative_index

FeatureMap = Float[Array, "b h w c"]

STAGES = 4
EPSILON = 1e-5  # of every layer norm
# The reference draws from a normal of standard deviation 0.02 cut off at +-2, which is 100 deviations: not
# cut at all.
KERNEL_INIT = normal(0.02)


@dataclass(frozen=True)
class SwinConfig:
    """One variant of Swin. The defaults are Swin-T.

    Attributes:
      num_classes: size of the head; 0 for no head.
      in_channels: channels of the images.
      drop_path_rate: stochastic depth of the last block, rising linearly from 0.
      embed_dim: channels of stage 1; each later stage has twice as many as the one before.
      depths: blocks of each stage; every second one has shifted windows.
      heads: attention heads of each stage; they must divide its channels.
      window_size: side of the square windows of each stage; one number for all is accepted. The tables of
        relative positions have `(2 * window_size - 1)**2` rows.
      patch_size: side of the patches that the stem embeds.
      mlp_ratio: hidden channels of the MLPs over their input channels.

    Raises:
      ValueError: if the numbers do not fit together.
    """

    num_classes: int = 1000
    in_channels: int = 3
    drop_path_rate: float = 0.2
    embed_dim: int = 96
    depths: tuple[int, ...] = (2, 2, 6, 2)
    heads: tuple[int, ...] = (3, 6, 12, 24)
    window_size: tuple[int, ...] = (7, 7, 7, 7)
    patch_size: int = 4
    mlp_ratio: float = 4.0

    def __post_init__(self) -> None:
        for field in fields(self):  # lists, as JSON and config files give them, are fine too
            value: Any = getattr(self, field.name)
            if field.name == "window_size" and not isinstance(value, list | tuple):
                check_integer("window_size", value, 1)
                value = (value,) * STAGES
            object.__setattr__(self, field.name, tuple(value) if isinstance(value, list) else value)
        for name in ("depths", "heads", "window_size"):
            check_integers(name, getattr(self, name), 1, STAGES)
        for name, least in (("num_classes", 0), ("in_channels", 1), ("embed_dim", 1), ("patch_size", 1)):
            check_integer(name, getattr(self, name), least)
        check_rate("drop_path_rate", self.drop_path_rate)
        check_positive("mlp_ratio", self.mlp_ratio)
        for stage, (width, heads) in enumerate(zip(self.widths, self.heads, strict=True), 1):
            if width % heads:
                raise ValueError(
                    f"heads={self.heads}: the {width} channels of stage {stage} make no {heads} equal heads"
                )

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each stage."""
        return tuple(self.embed_dim * 2**stage for stage in range(STAGES))


class PatchEmbed(nn.Module):
    """Convolution over patches (`conv`), then `norm`; images are completed with zeros to whole patches."""

    config: SwinConfig
    form: Form

    @nn.compact
    def __call__(self, images: FeatureMap) -> FeatureMap:
        config, form, p = self.config, self.form, self.config.patch_size
        bottom, right = (-side % p for side in images.shape[1:3])
        if bottom or right:
            images = jnp.pad(images, ((0, 0), (0, bottom), (0, right), (0, 0)))
        conv = Conv(
            config.in_channels,
            config.embed_dim,
            p,
            stride=p,
            form=form,
            kernel_init=uniform_fan_in(),
            bias_init=uniform_within((config.in_channels * p * p) ** -0.5),
            name="conv",
        )
        return LayerNorm(config.embed_dim, EPSILON, form, name="norm")(conv(images))


class WindowAttention(nn.Module):
    """W-MSA: attention inside windows, with a learned bias per relative position and head (section 3.2).

    Children `qkv` and `proj`, and the table `relative_position_bias`, ((2 * window - 1)**2, heads). What the
    scores get added depends on the weights and the map's size alone: (heads, n, n), or (w, heads, n, n) with
    the mask of shifted windows.

    Attributes: features, heads; window, side of the windows that the table is for; shift, by which they are
    moved along an axis that is longer than a window.
    """

    features: int
    heads: int
    window: int
    shift: int
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap) -> FeatureMap:
        c, heads, form = self.features, self.heads, self.form
        windows = self._windows(*x.shape[1:3])
        qkv = Dense(c, 3 * c, form=form, name="qkv")(windows.prepare(x))
        q, k, v = windows.split_heads(qkv, 3, heads)
        attended = windowed_attention(q, k, v, self._bias(windows))
        return Dense(c, c, form=form, name="proj")(windows.restore(windows.merge_heads(attended)))

    def _windows(self, height: int, width: int) -> Windows:
        longer = [side > self.window for side in (height, width)]
        size = (min(self.window, height), min(self.window, width))
        shift = (self.shift if longer[0] else 0, self.shift if longer[1] else 0)
        return Windows(height, width, size, shift)

    def _bias(self, windows: Windows) -> Float[Array, "*w heads n n"]:
        whole = (self.window, self.window)
        rows = (2 * self.window - 1) ** 2
        table = self.param("relative_position_bias", KERNEL_INIT, (rows, self.heads), jnp.float32)
        index = relative_index(windows.size, whole)  # constants within the table: nothing to check or wrap
        rows_of_pairs = jnp.asarray(table).at[index]
        bias = rows_of_pairs.get(mode="promise_in_bounds", wrap_negative_indices=False).transpose(2, 0, 1)
        if windows.mask is None:
            return bias
        return bias + jnp.asarray(windows.mask, bias.dtype)[:, None]


class Block(nn.Module):
    """Attention in windows and MLP, each after a layer norm and added to its input (equation 3).

    Children `norm1`, `attn`, `norm2`, `mlp`. Attributes as in WindowAttention, and mlp_ratio and drop_path,
    the rate of both branches.
    """

    features: int
    heads: int
    window: int
    shift: int
    mlp_ratio: float
    drop_path: float
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> FeatureMap:
        c, form = self.features, self.form
        branch = LayerNorm(c, EPSILON, form, name="norm1")(x)
        branch = WindowAttention(c, self.heads, self.window, self.shift, form, name="attn")(branch)
        x = x + DropPath(self.drop_path, name="drop_attn")(branch, train=train)
        branch = LayerNorm(c, EPSILON, form, name="norm2")(x)
        branch = Mlp(c, int(c * self.mlp_ratio), form, name="mlp")(branch)
        return x + DropPath(self.drop_path, name="drop_mlp")(branch, train=train)


class Stage(nn.Module):
    """The blocks of one resolution, `block1`, `block2`, ...; every second one has shifted windows."""

    features: int
    heads: int
    window: int
    mlp_ratio: float
    drop_path: tuple[float, ...]
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> FeatureMap:
        for i, rate in enumerate(self.drop_path):
            shift = self.window // 2 if i % 2 else 0
            block = Block(
                self.features,
                self.heads,
                self.window,
                shift,
                self.mlp_ratio,
                rate,
                self.form,
                name=f"block{i + 1}",
            )
            x = block(x, train=train)
        return x


class PatchMerging(nn.Module):
    """Half the resolution, twice the channels: 2x2 pixels side by side, `norm`, `reduction` (section 3.1)."""

    features: int
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap) -> FeatureMap:
        c = self.features
        x = LayerNorm(4 * c, EPSILON, self.form, name="norm")(merge_patches(x))
        return Dense(4 * c, 2 * c, self.form, use_bias=False, name="reduction")(x)


class Swin(Backbone):
    """Swin image classifier; `config` is a `SwinConfig`. Takes any image size.

    "stage1" to "stage4" are the outputs of the last block of each stage, before patch merging (`merge1` to
    `merge3`). There is no batch norm, so that variables hold "params" alone, the same in both forms.
    """

    config: SwinConfig = SwinConfig()

    @nn.compact
    def features(self, images: FeatureMap, *, train: bool = False, tail: bool = True) -> Features:
        config = self.config
        check_images(images, config.in_channels)
        form = Form(self.dtype, self.deploy, self.axis_name, KERNEL_INIT)
        out: Features = {}
        x = out["stem"] = PatchEmbed(config, form, name="stem")(images.astype(self.dtype))
        rates = drop_path_rates(config.drop_path_rate, sum(config.depths))
        ends = tuple(accumulate(config.depths))
        numbers = zip(config.widths, config.heads, config.window_size, ends, strict=True)
        for i, (width, heads, window, end) in enumerate(numbers):
            if i:
                x = PatchMerging(width // 2, form, name=f"merge{i}")(x)
            stage_rates = rates[end - config.depths[i] : end]
            stage = Stage(width, heads, window, config.mlp_ratio, stage_rates, form, name=f"stage{i + 1}")
            x = out[f"stage{i + 1}"] = stage(x, train=train)
        if not tail:
            return out
        c = config.widths[-1]
        out["pre_logits"] = global_avg_pool(LayerNorm(c, EPSILON, form, name="norm")(x))
        if config.num_classes:
            out["logits"] = Dense(c, config.num_classes, form, name="head")(out["pre_logits"])
        return out
