"""Names of Next-ViT checkpoints: those of the official code (bytedance/Next-ViT) and those of timm."""

from __future__ import annotations

from typing import Any

from hvjax.weights.rules import CONV, CONV_BIAS, LINEAR, NORM, Numbering, Numbers, Rule, Table


def tables(config: Any) -> tuple[Table, ...]:
    """Both namings, for a `NextViTConfig`."""
    return (
        Table(
            "official Next-ViT", _rules("features.{block}", ("conv1", "conv2"), "proj_head.0"), _flat(config)
        ),
        Table(
            "timm Next-ViT", _rules("stages.{stage}.blocks.{block}", ("fc1", "fc2"), "head.fc"), _FROM_ZERO
        ),
    )


def _rules(block: str, mlp: tuple[str, str], head: str) -> tuple[Rule, ...]:
    ours = "stage{stage}.block{block}"
    return (
        Rule("stem.{unit}.conv", "stem.unit{unit}.conv", CONV),
        Rule("stem.{unit}.norm", "stem.unit{unit}.norm", NORM),
        Rule(f"{block}.patch_embed.conv", f"{ours}.patch_embed.conv", CONV),
        Rule(f"{block}.patch_embed.norm", f"{ours}.patch_embed.norm", NORM),
        Rule(f"{block}.mhca.group_conv3x3", f"{ours}.mhca.conv", CONV),
        Rule(f"{block}.mhca.norm", f"{ours}.mhca.norm", NORM),
        Rule(f"{block}.mhca.projection", f"{ours}.mhca.projection", CONV),
        Rule(f"{block}.norm", f"{ours}.norm", NORM, merged=True),
        Rule(f"{block}.norm1", f"{ours}.norm1", NORM, merged=True),
        Rule(f"{block}.norm2", f"{ours}.norm2", NORM, merged=True),
        Rule(f"{block}.e_mhsa.norm", f"{ours}.e_mhsa.norm", NORM, merged=True),
        Rule(f"{block}.e_mhsa.q", f"{ours}.e_mhsa.q", LINEAR),
        Rule(f"{block}.e_mhsa.k", f"{ours}.e_mhsa.k", LINEAR),
        Rule(f"{block}.e_mhsa.v", f"{ours}.e_mhsa.v", LINEAR),
        Rule(f"{block}.e_mhsa.proj", f"{ours}.e_mhsa.proj", LINEAR),
        Rule(f"{block}.projection.conv", f"{ours}.projection.conv", CONV),
        Rule(f"{block}.projection.norm", f"{ours}.projection.norm", NORM),
        Rule(f"{block}.mlp.{mlp[0]}", f"{ours}.mlp.fc1", CONV_BIAS),
        Rule(f"{block}.mlp.{mlp[1]}", f"{ours}.mlp.fc2", CONV_BIAS),
        Rule("norm", "norm", NORM),
        Rule(head, "head", LINEAR),
    )


def _flat(config: Any) -> Numbering:
    """The official code counts blocks through all stages, from 0; the stem's units too."""
    places = [
        (stage, block)
        for stage, letters in enumerate(config.blocks, 1)
        for block in range(1, len(letters) + 1)
    ]

    def to_target(numbers: Numbers) -> Numbers:
        if "unit" in numbers:
            return {"unit": numbers["unit"] + 1}
        if numbers and numbers["block"] < len(places):
            return dict(zip(("stage", "block"), places[numbers["block"]], strict=True))
        if numbers:
            raise KeyError(numbers["block"])
        return {}

    def to_source(numbers: Numbers) -> Numbers:
        if "unit" in numbers:
            return {"unit": numbers["unit"] - 1}
        return {"block": places.index((numbers["stage"], numbers["block"]))} if numbers else {}

    return Numbering(to_target, to_source)


_FROM_ZERO = Numbering(
    to_target=lambda numbers: {key: number + 1 for key, number in numbers.items()},
    to_source=lambda numbers: {key: number - 1 for key, number in numbers.items()},
)
