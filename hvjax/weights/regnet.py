"""Names of RegNetY checkpoints: those of timm, which DeiT's teacher has too."""

from __future__ import annotations

from typing import Any

from hvjax.weights.rules import CONV, CONV_BIAS, LINEAR, NORM, Numbering, Rule, Table

_BLOCK, _OURS = "s{stage}.b{block}", "stage{stage}.block{block}"

_RULES = (
    Rule("stem.conv", "stem.conv", CONV),
    Rule("stem.bn", "stem.norm", NORM),
    *(
        rule
        for number in (1, 2, 3)
        for rule in (
            Rule(f"{_BLOCK}.conv{number}.conv", f"{_OURS}.conv{number}", CONV),
            Rule(f"{_BLOCK}.conv{number}.bn", f"{_OURS}.norm{number}", NORM),
        )
    ),
    Rule(f"{_BLOCK}.se.fc1", f"{_OURS}.se.fc1", CONV_BIAS),
    Rule(f"{_BLOCK}.se.fc2", f"{_OURS}.se.fc2", CONV_BIAS),
    Rule(f"{_BLOCK}.downsample.conv", f"{_OURS}.shortcut.conv", CONV),
    Rule(f"{_BLOCK}.downsample.bn", f"{_OURS}.shortcut.norm", NORM),
    Rule("head.fc", "head", LINEAR),
)


def tables(config: Any) -> tuple[Table, ...]:
    """The one naming, for a `RegNetYConfig`; both sides count stages and blocks from 1."""
    del config
    return (Table("timm RegNet", _RULES, Numbering(to_target=dict, to_source=dict)),)
