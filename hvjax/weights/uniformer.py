"""Names of UniFormer checkpoints: those of the official code (Sense-X/UniFormer)."""

from __future__ import annotations

from typing import Any

from hvjax.weights.rules import CONV_BIAS, LAYER_NORM, LINEAR, NORM, Numbering, Rule, Table, vector


def tables(config: Any) -> tuple[Table, ...]:
    """The one naming, for a `UniFormerConfig`."""
    stages = (
        *(_conv_stem() if config.conv_stem else _patches()),
        *(rule for stage in (1, 2) for rule in _conv_blocks(f"blocks{stage}.{{block}}", stage)),
        *(rule for stage in (3, 4) for rule in _attention_blocks(f"blocks{stage}.{{block}}", stage)),
    )
    rules = (*stages, Rule("norm", "norm", NORM), Rule("head", "head", LINEAR))
    return (Table("official UniFormer", rules, _FROM_ZERO),)


def _patches() -> tuple[Rule, ...]:
    places = {1: "stem", **{stage: f"stage{stage}.patch_embed" for stage in (2, 3, 4)}}
    return tuple(
        rule
        for number, ours in places.items()
        for rule in (
            Rule(f"patch_embed{number}.proj", f"{ours}.conv", CONV_BIAS),
            Rule(f"patch_embed{number}.norm", f"{ours}.norm", LAYER_NORM),
        )
    )


def _conv_stem() -> tuple[Rule, ...]:
    # The numbers are places in the list of layers there; the one left out is the activation.
    places = [("patch_embed1.proj", "stem.unit1", 0, 1), ("patch_embed1.proj", "stem.unit2", 3, 4)]
    places += [(f"patch_embed{stage}.proj", f"stage{stage}.patch_embed", 0, 1) for stage in (2, 3, 4)]
    return tuple(
        rule
        for theirs, ours, conv, norm in places
        for rule in (
            Rule(f"{theirs}.{conv}", f"{ours}.conv", CONV_BIAS),
            Rule(f"{theirs}.{norm}", f"{ours}.norm", NORM),
        )
    )


def _conv_blocks(theirs: str, stage: int) -> tuple[Rule, ...]:
    ours = f"stage{stage}.block{{block}}"
    return (
        Rule(f"{theirs}.pos_embed", f"{ours}.pos_embed", CONV_BIAS),
        Rule(f"{theirs}.norm1", f"{ours}.norm1", NORM),
        Rule(f"{theirs}.conv1", f"{ours}.mhra.value", CONV_BIAS),
        Rule(f"{theirs}.attn", f"{ours}.mhra.affinity", CONV_BIAS),
        Rule(f"{theirs}.conv2", f"{ours}.mhra.proj", CONV_BIAS),
        Rule(f"{theirs}.norm2", f"{ours}.norm2", NORM),
        Rule(f"{theirs}.mlp.fc1", f"{ours}.mlp.fc1", CONV_BIAS),
        Rule(f"{theirs}.mlp.fc2", f"{ours}.mlp.fc2", CONV_BIAS),
    )


def _attention_blocks(theirs: str, stage: int) -> tuple[Rule, ...]:
    ours = f"stage{stage}.block{{block}}"
    return (
        Rule(f"{theirs}.pos_embed", f"{ours}.pos_embed", CONV_BIAS),
        Rule(f"{theirs}.norm1", f"{ours}.norm1", LAYER_NORM),
        Rule(f"{theirs}.attn.qkv", f"{ours}.mhra.qkv", LINEAR),
        Rule(f"{theirs}.attn.proj", f"{ours}.mhra.proj", LINEAR),
        Rule(f"{theirs}", f"{ours}.scale1", (vector("gamma_1", "gamma"),)),
        Rule(f"{theirs}.norm2", f"{ours}.norm2", LAYER_NORM),
        Rule(f"{theirs}.mlp.fc1", f"{ours}.mlp.fc1", LINEAR),
        Rule(f"{theirs}.mlp.fc2", f"{ours}.mlp.fc2", LINEAR),
        Rule(f"{theirs}", f"{ours}.scale2", (vector("gamma_2", "gamma"),)),
    )


# Blocks are counted from 0 there and from 1 here.
_FROM_ZERO = Numbering(
    to_target=lambda numbers: {key: number + 1 for key, number in numbers.items()},
    to_source=lambda numbers: {key: number - 1 for key, number in numbers.items()},
)
