"""Names of Swin checkpoints: those of the official code (microsoft/Swin-Transformer) and those of timm."""

from __future__ import annotations

from typing import Any

from hvjax.weights.positions import offset_table
from hvjax.weights.rules import (
    CONV_BIAS,
    LAYER_NORM,
    LINEAR,
    LINEAR_WITHOUT_BIAS,
    SKIPPED,
    Leaf,
    Numbering,
    Numbers,
    Rule,
    Table,
)


def tables(config: Any) -> tuple[Table, ...]:
    """Both namings, for a `SwinConfig`. They differ in the head and in where they put patch merging.

    The official code counts the merging after stage i to stage i, timm to stage i + 1.
    """
    skipped = (SKIPPED, "relative_position_index", "attn_mask")
    return (
        Table("official Swin", _rules(config, "head"), _numbering(merge_belongs_to=0), skipped),
        Table("timm Swin", _rules(config, "head.fc"), _numbering(merge_belongs_to=1), skipped),
    )


def _rules(config: Any, head: str) -> tuple[Rule, ...]:
    block, ours = "layers.{stage}.blocks.{block}", "stage{stage}.block{block}"
    return (
        Rule("patch_embed.proj", "stem.conv", CONV_BIAS),
        Rule("patch_embed.norm", "stem.norm", LAYER_NORM),
        Rule(f"{block}.norm1", f"{ours}.norm1", LAYER_NORM),
        *_position_tables(config),
        Rule(f"{block}.attn.qkv", f"{ours}.attn.qkv", LINEAR),
        Rule(f"{block}.attn.proj", f"{ours}.attn.proj", LINEAR),
        Rule(f"{block}.norm2", f"{ours}.norm2", LAYER_NORM),
        Rule(f"{block}.mlp.fc1", f"{ours}.mlp.fc1", LINEAR),
        Rule(f"{block}.mlp.fc2", f"{ours}.mlp.fc2", LINEAR),
        Rule("layers.{merge}.downsample.norm", "merge{merge}.norm", LAYER_NORM),
        Rule("layers.{merge}.downsample.reduction", "merge{merge}.reduction", LINEAR_WITHOUT_BIAS),
        Rule("norm", "norm", LAYER_NORM),
        Rule(head, "head", LINEAR),
    )


def _position_tables(config: Any) -> tuple[Rule, ...]:
    """One rule a stage, because the size to interpolate to is that of the stage's windows."""
    rules = []
    for stage, window in enumerate(config.window_size, 1):
        leaf = Leaf(
            "relative_position_bias_table",
            "params",
            "relative_position_bias",
            (0, 1),
            resize=offset_table((window, window)),
        )
        rules.append(
            Rule(f"layers.{stage - 1}.blocks.{{block}}.attn", f"stage{stage}.block{{block}}.attn", (leaf,))
        )
    return tuple(rules)


def _numbering(merge_belongs_to: int) -> Numbering:
    """Stages and blocks count from 0 there and from 1 here; so do the mergings of the official code."""
    shift = {"stage": 1, "block": 1, "merge": 1 - merge_belongs_to}

    def to_target(numbers: Numbers) -> Numbers:
        return {key: number + shift[key] for key, number in numbers.items()}

    def to_source(numbers: Numbers) -> Numbers:
        return {key: number - shift[key] for key, number in numbers.items()}

    return Numbering(to_target, to_source)
