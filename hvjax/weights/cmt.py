"""Names of CMT checkpoints: those of the official code (huawei-noah/Efficient-AI-Backbones, cmt_pytorch)."""

from __future__ import annotations

from typing import Any

from hvjax.weights.positions import pair_table
from hvjax.weights.rules import CONV_BIAS, LAYER_NORM, LINEAR, NORM, Leaf, Numbering, Rule, Table

# Stages are letters there; blocks count from 0 there and from 1 here.
_NUMBERING = Numbering(
    to_target=lambda numbers: {"block": numbers["block"] + 1} if numbers else {},
    to_source=lambda numbers: {"block": numbers["block"] - 1} if numbers else {},
)


def tables(config: Any) -> tuple[Table, ...]:
    """The one naming, for a `CMTConfig`."""
    rules = [
        Rule(f"stem_{kind}{number}", f"stem.{kind}{number}", leaves)
        for number in (1, 2, 3)
        for kind, leaves in (("conv", CONV_BIAS), ("norm", NORM))
    ]
    for index, letter in enumerate("abcd"):
        rules += _stage(config, index, letter)
    rules += [
        Rule("_fc", "expand", CONV_BIAS),
        Rule("_bn", "norm", NORM),
        Rule("head", "head", LINEAR),
    ]
    return (Table("official CMT", tuple(rules), _NUMBERING),)


def _stage(config: Any, index: int, letter: str) -> list[Rule]:
    stage = f"stage{index + 1}"
    resize = pair_table(config.grid(index), config.key_grid(index))
    positions = Leaf(f"relative_pos_{letter}", "params", "relative_position", (0, 1, 2), resize=resize)
    theirs, ours = f"blocks_{letter}.{{block}}", f"{stage}.block{{block}}"
    names = (
        ("norm1", "norm1", LAYER_NORM),
        ("attn.q", "attn.q", LINEAR),
        ("attn.k", "attn.k", LINEAR),
        ("attn.v", "attn.v", LINEAR),
        ("attn.proj", "attn.proj", LINEAR),
        ("attn.sr.0", "attn.sr", CONV_BIAS),
        ("attn.sr.1", "attn.norm", NORM),
        ("norm2", "norm2", LAYER_NORM),
        ("mlp.conv1.0", "mlp.fc1", CONV_BIAS),
        ("mlp.conv1.2", "mlp.norm1", NORM),
        ("mlp.proj", "mlp.conv", CONV_BIAS),
        ("mlp.proj_bn", "mlp.norm2", NORM),
        ("mlp.conv2.0", "mlp.fc2", CONV_BIAS),
        ("mlp.conv2.1", "mlp.norm3", NORM),
        ("proj", "lpu", CONV_BIAS),
    )
    return [
        Rule("", stage, (positions,)),
        Rule(f"patch_embed_{letter}.proj", f"{stage}.patch_embed.conv", CONV_BIAS),
        Rule(f"patch_embed_{letter}.norm", f"{stage}.patch_embed.norm", LAYER_NORM),
        *(Rule(f"{theirs}.{there}", f"{ours}.{here}", leaves) for there, here, leaves in names),
    ]
