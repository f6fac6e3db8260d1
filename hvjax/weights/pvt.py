"""Names of PVT checkpoints: those of the official code (whai362/PVT, first version)."""

from __future__ import annotations

from typing import Any

from hvjax.weights.positions import bilinear_matrix, token_table
from hvjax.weights.rules import (
    CONV_BIAS,
    LAYER_NORM,
    LINEAR,
    Leaf,
    Numbering,
    Rule,
    Table,
    vector,
)

_BLOCK, _OURS = "block{stage}.{block}", "stage{stage}.block{block}"

_RULES = (
    Rule("patch_embed{stage}.proj", "patch_embed{stage}.proj", CONV_BIAS),
    Rule("patch_embed{stage}.norm", "patch_embed{stage}.norm", LAYER_NORM),
    Rule(f"{_BLOCK}.norm1", f"{_OURS}.norm1", LAYER_NORM),
    Rule(f"{_BLOCK}.attn.q", f"{_OURS}.attn.q", LINEAR),
    Rule(f"{_BLOCK}.attn.kv", f"{_OURS}.attn.kv", LINEAR),
    Rule(f"{_BLOCK}.attn.proj", f"{_OURS}.attn.proj", LINEAR),
    Rule(f"{_BLOCK}.attn.sr", f"{_OURS}.attn.sr", CONV_BIAS),
    Rule(f"{_BLOCK}.attn.norm", f"{_OURS}.attn.norm", LAYER_NORM),
    Rule(f"{_BLOCK}.norm2", f"{_OURS}.norm2", LAYER_NORM),
    Rule(f"{_BLOCK}.mlp.fc1", f"{_OURS}.mlp.fc1", LINEAR),
    Rule(f"{_BLOCK}.mlp.fc2", f"{_OURS}.mlp.fc2", LINEAR),
    Rule("norm", "norm", LAYER_NORM),
    Rule("head", "head", LINEAR),
)

# Stages are counted from 1 on both sides, blocks from 0 there and from 1 here.
_NUMBERING = Numbering(
    to_target=lambda numbers: {**numbers, "block": numbers["block"] + 1} if "block" in numbers else numbers,
    to_source=lambda numbers: {**numbers, "block": numbers["block"] - 1} if "block" in numbers else numbers,
)


def tables(config: Any) -> tuple[Table, ...]:
    """The one naming, for a `PVTConfig`; tables of positions are resized to its image size.

    Bilinearly, as the official code resizes them for images of another size. The last one keeps the position
    of the class token.
    """
    stages = len(config.depths)
    positions = []
    for stage in range(1, stages + 1):
        resize = token_table(config.grid(stage - 1), bilinear_matrix, others=int(stage == stages))
        leaf = Leaf(f"pos_embed{stage}", "params", "pos_embed", (0, 1), ones=-1, resize=resize)
        positions.append(Rule("", f"stage{stage}", (leaf,)))
    token = Rule("", f"stage{stages}", (vector("cls_token", "cls_token", ones=-2),))
    return (Table("official PVT", (*_RULES, *positions, token), _NUMBERING),)
