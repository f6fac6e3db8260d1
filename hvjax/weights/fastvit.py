"""Names of FastViT checkpoints: the official code (apple/ml-fastvit) and timm, before and after fusion.

After the reference's own fusion (`reparameterize_model`) a block of branches is one convolution, while the
batch norms of the feed-forward networks and before attention, and the layer scales of the residual branches,
are still there. These are the tables with `fused`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hvjax.weights.rep_conv import OFFICIAL, TIMM, BlockNames, block_rules
from hvjax.weights.rules import (
    CONV,
    CONV_BIAS,
    LINEAR,
    LINEAR_WITHOUT_BIAS,
    NORM,
    Numbering,
    Numbers,
    Rule,
    Table,
    vector,
)


@dataclass(frozen=True)
class _Names:
    """What one code base calls the parts.

    `scale` translates the name of a layer scale into the layer and the tensor that hold it; `down` is the
    patch embedding and `large` its convolution of branches, after fusion `fused_large`.
    """

    stem: str
    block: str
    down: str
    position: str
    position_conv: str
    mlp: str
    large: str
    fused_large: str
    final: str
    head: str
    parts: BlockNames
    scale: Callable[[str], tuple[str, str]]


_OFFICIAL = _Names(
    stem="patch_embed.{unit}",
    block="network.{stage}.{block}",
    down="network.{down}.proj",
    position="network.{position}",
    position_conv="pe",
    mlp="convffn",
    large="lkb_origin",
    fused_large="lkb_reparam",
    final="conv_exp",
    head="head",
    parts=OFFICIAL,
    scale=lambda name: ("", name),
)
_TIMM = _Names(
    stem="stem.{unit}",
    block="stages.{stage}.blocks.{block}",
    down="stages.{down}.downsample.proj",
    position="stages.{position}.pos_emb",
    position_conv="pos_enc",
    mlp="mlp",
    large="large_conv",
    fused_large="reparam_conv",
    final="final_conv",
    head="head.fc",
    parts=TIMM,
    scale=lambda name: (f".{name}", "gamma"),
)


def tables(config: Any) -> tuple[Table, ...]:
    """The four namings, for a `FastViTConfig`."""
    kinds = (("official", _OFFICIAL, _flat(config)), ("timm", _TIMM, _FROM_ZERO))
    return (
        *(Table(f"{who} FastViT", _rules(names, False), numbering) for who, names, numbering in kinds),
        *(
            Table(f"fused {who} FastViT", _rules(names, True), numbering, fused=True)
            for who, names, numbering in kinds
        ),
    )


def _rules(names: _Names, fused: bool) -> tuple[Rule, ...]:
    block, ours = names.block, "stage{stage}.block{block}"
    return (
        *block_rules(names.stem, "stem.unit{unit}", names.parts, fused=fused),
        *(_fused_parts(names) if fused else _trained_parts(names)),
        *block_rules(f"{names.down}.1", "stage{down}.downsample.pointwise", names.parts, fused=fused),
        Rule(f"{block}.norm", f"{ours}.norm", NORM),
        Rule(f"{block}.token_mixer.qkv", f"{ours}.attention.qkv", LINEAR_WITHOUT_BIAS),
        Rule(f"{block}.token_mixer.proj", f"{ours}.attention.proj", LINEAR),
        Rule(f"{block}.{names.mlp}.conv.conv", f"{ours}.mlp.conv.conv", CONV),
        Rule(f"{block}.{names.mlp}.conv.bn", f"{ours}.mlp.conv.norm", NORM),
        Rule(f"{block}.{names.mlp}.fc1", f"{ours}.mlp.fc1", CONV_BIAS),
        Rule(f"{block}.{names.mlp}.fc2", f"{ours}.mlp.fc2", CONV_BIAS),
        _scale(names, block, "layer_scale", f"{ours}.layer_scale"),
        _scale(names, block, "layer_scale_1", f"{ours}.layer_scale1"),
        _scale(names, block, "layer_scale_2", f"{ours}.layer_scale2"),
        *block_rules(names.final, "final_conv", names.parts, fused=fused),
        Rule(names.head, "head", LINEAR),
    )


def _trained_parts(names: _Names) -> tuple[Rule, ...]:
    mixer, ours = f"{names.block}.token_mixer", "stage{stage}.block{block}.token_mixer"
    large, small = f"{names.down}.0.{names.large}", f"{names.down}.0.small_conv"
    return (
        Rule(f"{large}.conv", "stage{down}.downsample.large.conv", CONV),
        Rule(f"{large}.bn", "stage{down}.downsample.large.norm", NORM),
        Rule(f"{small}.conv", "stage{down}.downsample.small.conv", CONV),
        Rule(f"{small}.bn", "stage{down}.downsample.small.norm", NORM),
        Rule(f"{names.position}.{names.position_conv}", "stage{position}.position.conv", CONV_BIAS),
        Rule(f"{mixer}.norm.{names.parts.skip}", f"{ours}.norm", NORM),
        *block_rules(f"{mixer}.mixer", f"{ours}.mixer", names.parts, fused=False),
        _scale(names, mixer, "layer_scale", f"{ours}.layer_scale"),
    )


def _fused_parts(names: _Names) -> tuple[Rule, ...]:
    mixer, large = f"{names.block}.token_mixer", f"{names.down}.0.{names.fused_large}"
    return (
        Rule(large, "stage{down}.downsample.conv", CONV_BIAS),
        Rule(f"{names.position}.reparam_conv", "stage{position}.position.conv", CONV_BIAS),
        Rule(f"{mixer}.reparam_conv", "stage{stage}.block{block}.token_mixer.conv", CONV_BIAS),
    )


def _scale(names: _Names, module: str, name: str, ours: str) -> Rule:
    """A layer scale, of shape (c, 1, 1) there."""
    layer, tensor = names.scale(name)
    return Rule(f"{module}{layer}", ours, (vector(tensor, "gamma", ones=2),))


def _flat(config: Any) -> Numbering:
    """The official code keeps stages, patch embeddings and position encodings in one list, from 0."""
    places: dict[str, dict[int, int]] = {"stage": {}, "down": {}, "position": {}}
    count = 0
    for stage, kernel in enumerate(config.position_kernels, start=1):
        parts = ("down",) * (stage > 1) + ("position",) * bool(kernel) + ("stage",)
        for part in parts:
            places[part][count] = stage
            count += 1
    back = {part: {stage: index for index, stage in numbers.items()} for part, numbers in places.items()}

    def translate(numbers: Numbers, lists: dict[str, dict[int, int]], step: int) -> Numbers:
        return {key: lists[key][number] if key in lists else number + step for key, number in numbers.items()}

    return Numbering(lambda numbers: translate(numbers, places, 1), lambda n: translate(n, back, -1))


_FROM_ZERO = Numbering(
    to_target=lambda numbers: {key: number + 1 for key, number in numbers.items()},
    to_source=lambda numbers: {key: number - 1 for key, number in numbers.items()},
)
