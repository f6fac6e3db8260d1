"""Names of PyramidTNT checkpoints: those of the official code (huawei-noah/Efficient-AI-Backbones)."""

from __future__ import annotations

from typing import Any

from hvjax.weights.positions import pair_table, token_table
from hvjax.weights.rules import (
    CONV_BIAS,
    LAYER_NORM,
    LINEAR,
    LINEAR_WITHOUT_BIAS,
    NORM,
    Leaf,
    Numbering,
    Numbers,
    Rule,
    Table,
)


def tables(config: Any) -> tuple[Table, ...]:
    """The one naming, for a `PyramidTNTConfig`; tables of positions are resized to its image size."""
    qkv = LINEAR if config.qkv_bias else LINEAR_WITHOUT_BIAS
    rules = (
        Rule(
            "",
            "",
            (
                Leaf("outer_pos", "params", "outer_pos", (0, 1), ones=-1, resize=token_table(config.grid(0))),
                Leaf("inner_pos", "params", "inner_pos", (0, 1), ones=-1),
            ),
        ),
        *_stem(),
        *(_relative_positions(config, stage) for stage in range(len(config.depths))),
        Rule("word_merges.{merge}.norm", "stage{stage}.word_merge.norm", LAYER_NORM),
        Rule("word_merges.{merge}.conv.0", "stage{stage}.word_merge.conv", CONV_BIAS),
        Rule("sentence_merges.{merge}.norm", "stage{stage}.sentence_merge.norm", LAYER_NORM),
        Rule("sentence_merges.{merge}.conv.0", "stage{stage}.sentence_merge.conv", CONV_BIAS),
        *_attention("inner", qkv),
        Rule(f"{_THEIRS}.proj_norm1", f"{_OURS}.proj_norm1", LAYER_NORM),
        Rule(f"{_THEIRS}.proj", f"{_OURS}.proj", LINEAR_WITHOUT_BIAS),
        Rule(f"{_THEIRS}.proj_norm2", f"{_OURS}.proj_norm2", LAYER_NORM),
        *_attention("outer", qkv),
        Rule(f"{_THEIRS}.outer_attn.linear", f"{_OURS}.outer_attention.linear", LINEAR),
        Rule(f"{_THEIRS}.outer_attn.norm", f"{_OURS}.outer_attention.norm", LAYER_NORM),
        Rule("norm", "norm", LAYER_NORM),
        Rule("head", "head", LINEAR),
    )
    return (Table("official PyramidTNT", rules, _NUMBERING),)


_THEIRS, _OURS = "stages.{stage}.blocks.{block}", "stage{stage}.block{block}"


def _stem() -> tuple[Rule, ...]:
    # The numbers are places in the list of layers there; those left out are activations.
    places = [("common_conv", "common", 0), ("inner_convs", "inner", 0)]
    places += [("outer_convs", f"outer{unit + 1}", 3 * unit) for unit in range(3)]
    return tuple(
        rule
        for theirs, ours, place in places
        for rule in (
            Rule(f"patch_embed.{theirs}.{place}", f"stem.{ours}.conv", CONV_BIAS),
            Rule(f"patch_embed.{theirs}.{place + 1}", f"stem.{ours}.norm", NORM),
        )
    )


def _relative_positions(config: Any, stage: int) -> Rule:
    resize = pair_table(config.grid(stage), config.keys(stage))
    leaf = Leaf("relative_pos", "params", "relative_pos", (0, 1, 2), ones=-1, resize=resize)
    return Rule(f"stages.{stage}", f"stage{stage + 1}", (leaf,))


def _attention(kind: str, qkv: tuple[Leaf, ...]) -> tuple[Rule, ...]:
    return (
        Rule(f"{_THEIRS}.{kind}_norm1", f"{_OURS}.{kind}_norm1", LAYER_NORM),
        Rule(f"{_THEIRS}.{kind}_attn.q", f"{_OURS}.{kind}_attention.q", qkv),
        Rule(f"{_THEIRS}.{kind}_attn.kv", f"{_OURS}.{kind}_attention.kv", qkv),
        Rule(f"{_THEIRS}.{kind}_attn.proj", f"{_OURS}.{kind}_attention.proj", LINEAR),
        Rule(f"{_THEIRS}.{kind}_norm2", f"{_OURS}.{kind}_norm2", LAYER_NORM),
        Rule(f"{_THEIRS}.{kind}_mlp.fc1", f"{_OURS}.{kind}_mlp.fc1", LINEAR),
        Rule(f"{_THEIRS}.{kind}_mlp.fc2", f"{_OURS}.{kind}_mlp.fc2", LINEAR),
    )


def _to_target(numbers: Numbers) -> Numbers:
    if "merge" in numbers:  # the first merge stands before the second stage
        return {"stage": numbers["merge"] + 2}
    return {key: number + 1 for key, number in numbers.items()}


def _to_source(numbers: Numbers) -> Numbers:
    return {key: number - 1 for key, number in numbers.items()} | {"merge": numbers.get("stage", 0) - 2}


_NUMBERING = Numbering(_to_target, _to_source)
