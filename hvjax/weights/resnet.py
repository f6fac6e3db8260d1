"""Names of ResNet checkpoints; torchvision and timm use the same."""

from __future__ import annotations

from typing import Any

from hvjax.weights.rules import CONV, LINEAR, NORM, Numbering, Rule, Table

_BLOCK, _OURS = "layer{stage}.{block}", "stage{stage}.block{block}"

_RULES = (
    Rule("conv1", "stem.conv", CONV),
    Rule("bn1", "stem.norm", NORM),
    Rule(f"{_BLOCK}.conv1", f"{_OURS}.conv1", CONV),
    Rule(f"{_BLOCK}.bn1", f"{_OURS}.norm1", NORM),
    Rule(f"{_BLOCK}.conv2", f"{_OURS}.conv2", CONV),
    Rule(f"{_BLOCK}.bn2", f"{_OURS}.norm2", NORM),
    Rule(f"{_BLOCK}.conv3", f"{_OURS}.conv3", CONV),
    Rule(f"{_BLOCK}.bn3", f"{_OURS}.norm3", NORM),
    Rule(f"{_BLOCK}.downsample.0", f"{_OURS}.shortcut.conv", CONV),
    Rule(f"{_BLOCK}.downsample.1", f"{_OURS}.shortcut.norm", NORM),
    Rule("fc", "head", LINEAR),
)

# Stages are counted from 1 on both sides, blocks from 0 there and from 1 here.
_NUMBERING = Numbering(
    to_target=lambda numbers: {**numbers, "block": numbers["block"] + 1} if numbers else {},
    to_source=lambda numbers: {**numbers, "block": numbers["block"] - 1} if numbers else {},
)


def tables(config: Any) -> tuple[Table, ...]:
    """The one naming, for a `ResNetConfig`."""
    del config
    return (Table("torchvision and timm ResNet", _RULES, _NUMBERING),)
