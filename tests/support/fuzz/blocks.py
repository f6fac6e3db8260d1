"""hvjax's own blocks at random widths, heads and sizes, and a few modules of flax."""

from __future__ import annotations

import jax
from flax import linen as nn

from fuzz.network import Builder
from hvjax.blocks.attention import ReducedAttention, SelfAttention
from hvjax.blocks.bottleneck import Bottleneck
from hvjax.blocks.form import Form
from hvjax.blocks.group_norm import GroupNorm
from hvjax.blocks.layer_norm import LayerNorm
from hvjax.blocks.layers import Conv, ConvNorm, Dense, LayerScale
from hvjax.blocks.mix_block import MixBlock, TransformerBlock
from hvjax.blocks.mlp import ConvMlp, Mlp
from hvjax.blocks.rep_conv import RepConv, RepMixer
from hvjax.blocks.spatial_reduction import SpatialReductionAttention
from hvjax.blocks.squeeze_excite import SqueezeExcite
from hvjax.models import convnext, fastvit, swin, uniformer


def on_map(b: Builder, x: int) -> int | None:
    """A block on a feature map."""
    _, height, width, channels = b.shapes[x]
    form = Form(deploy=b.flag())
    name = b.one_of(sorted(MAPS))
    module = MAPS[name](b, form, height, width, channels)
    if module is None:
        return None
    return b.module(module, x)


def on_tokens(b: Builder, x: int) -> int | None:
    """A block on tokens."""
    _, count, channels = b.shapes[x]
    form = Form(deploy=b.flag())
    name = b.one_of(["self", "self", "reduced", "spatial", "mlp", "norm", "dense"])
    heads = b.divisor(channels)
    more = []
    if name == "self":
        module: nn.Module = SelfAttention(channels, heads, form, qkv_bias=b.flag())
    elif name == "reduced":
        reduction = b.one_of([r for r in (1, 2, 3, 4) if count % r == 0])
        module = ReducedAttention(channels, heads, reduction, form, b.one_of([None, 1e-6]))
    elif name == "spatial":
        rows = b.divisor(count)
        reduction = b.one_of([r for r in (1, 2) if rows % r == 0 and (count // rows) % r == 0])
        module = SpatialReductionAttention(channels, heads, reduction, form)
        more = [(rows, count // rows)]
    elif name == "mlp":
        module = Mlp(channels, b.integer(1, 8), form)
    elif name == "norm":
        module = LayerNorm(channels, 1e-6, form)
    else:
        module = Dense(channels, b.integer(1, 6), form)
    if channels < 2 and name in ("norm", "reduced", "spatial"):
        return None
    return b.module(module, x, *more)


def _conv(b: Builder, form: Form, height: int, width: int, channels: int) -> nn.Module | None:
    kernel = b.integer(1, 3)
    if min(height, width) < kernel:
        return None
    groups = b.divisor(channels)
    kind = b.one_of([Conv, ConvNorm])
    return kind(
        channels,
        groups * b.integer(1, 3),
        kernel,
        b.integer(1, 2),
        b.integer(0, kernel // 2),
        groups,
        form=form,
    )


def _mix(b: Builder, form: Form, height: int, width: int, channels: int) -> nn.Module:
    head_dim = b.integer(1, 3)
    attended, convolved = head_dim * b.integer(1, 2), head_dim * b.integer(1, 2)
    stride = b.one_of([1, 2])
    rows, columns = -(-height // stride), -(-width // stride)
    reduction = b.one_of([r for r in (1, 2, 3) if rows % r == 0 and columns % r == 0])
    order = b.one_of(["conv_first", "attention_first"])
    return MixBlock(
        order, channels, attended, convolved, stride, head_dim, 6, reduction, 1e-5, b.flag(), 0.0, form
    )


def _transformer(b: Builder, form: Form, height: int, width: int, channels: int) -> nn.Module:
    head_dim = b.integer(1, 3)
    return TransformerBlock(
        channels, head_dim * b.integer(1, 2), b.one_of([1, 2]), head_dim, 5, 1, 1e-5, 0.0, form
    )


def _window(b: Builder, form: Form, height: int, width: int, channels: int) -> nn.Module:
    window = b.integer(2, 4)
    kind = b.one_of(["attention", "block"])
    heads = b.divisor(channels)
    shift = b.integer(0, window - 1)
    if kind == "attention":
        return swin.WindowAttention(channels, heads, window, shift, form)
    return swin.Block(channels, heads, window, shift, 2.0, 0.0, form)


def _rep_conv(b: Builder, form: Form, height: int, width: int, channels: int) -> nn.Module:
    groups = b.divisor(channels)
    activation = b.one_of([None, jax.nn.relu, jax.nn.gelu])
    return RepConv(
        channels,
        groups * b.integer(1, 2),
        b.one_of([1, 3, 5]),
        b.integer(1, 2),
        groups,
        b.integer(1, 3),
        b.one_of([0, 2]),
        activation,
        form=form,
    )


def _bottleneck(b: Builder, form: Form, height: int, width: int, channels: int) -> nn.Module:
    return Bottleneck(channels, b.integer(1, 3), b.one_of([1, 2]), True, 0.0, form)


def _uniformer(b: Builder, form: Form, height: int, width: int, channels: int) -> nn.Module:
    if b.flag():
        return uniformer.LocalRelation(channels, form)
    return uniformer.LocalMlp(channels, b.integer(1, 6), form)


def _convnext(b: Builder, form: Form, height: int, width: int, channels: int) -> nn.Module:
    config = convnext.ConvNeXtConfig(kernel_size=b.one_of([3, 5, 7]), layer_scale=0.5)
    return convnext.Block(config, channels, 0.0, form)


def _fastvit(b: Builder, form: Form, height: int, width: int, channels: int) -> nn.Module | None:
    kind = b.one_of(["mixer", "ffn", "position", "patch"])
    if kind == "mixer":
        return RepMixer(channels, b.one_of([3, 5, 7]), 0.5, form)
    if kind == "ffn":
        return fastvit.ConvFFN(channels, b.integer(1, 6), b.one_of([3, 7]), form)
    if kind == "position":
        return fastvit.PositionEncoding(channels, b.one_of([3, 7]), form)
    return fastvit.PatchEmbed(channels, channels * b.integer(1, 2), b.one_of([3, 7]), form)


def _merge(b: Builder, form: Form, height: int, width: int, channels: int) -> nn.Module | None:
    return swin.PatchMerging(channels, form) if height > 1 and width > 1 else None


MAPS = {
    "conv": _conv,
    "mix": _mix,
    "transformer": _transformer,
    "window": _window,
    "rep_conv": _rep_conv,
    "bottleneck": _bottleneck,
    "uniformer": _uniformer,
    "convnext": _convnext,
    "fastvit": _fastvit,
    "merge": _merge,
    "group_norm": lambda b, form, h, w, c: GroupNorm(c, 1e-5, form),
    "layer_norm": lambda b, form, h, w, c: LayerNorm(c, 1e-6, form) if c > 1 else None,
    "layer_scale": lambda b, form, h, w, c: LayerScale(c, 0.5, form),
    "conv_mlp": lambda b, form, h, w, c: ConvMlp(
        c, b.integer(1, 6), form, b.one_of([jax.nn.relu, jax.nn.gelu])
    ),
    "squeeze": lambda b, form, h, w, c: SqueezeExcite(c, b.integer(1, 4), form),
}
