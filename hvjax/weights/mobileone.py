"""Names of MobileOne checkpoints: official code (apple/ml-mobileone) and timm, before and after fusion."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hvjax.weights.rep_conv import OFFICIAL, TIMM, BlockNames, block_rules
from hvjax.weights.rules import LINEAR, Numbering, Numbers, Rule, Table

_SQUEEZE = replace(TIMM, squeeze="attn.fc1", excite="attn.fc2")


def tables(config: Any) -> tuple[Table, ...]:
    """The four namings, for a `MobileOneConfig`."""
    del config
    official, timm = _numbering(first_stage=1), _numbering(first_stage=0)
    return tuple(
        table
        for fused, kind in ((False, ""), (True, "fused "))
        for table in (
            Table(f"{kind}timm MobileOne", _timm(fused), timm, fused=fused),
            Table(f"{kind}official MobileOne", _official(fused), official, fused=fused),
        )
    )


def _timm(fused: bool) -> tuple[Rule, ...]:
    return _rules("stem", "stages.{stage}", "head.fc", _SQUEEZE, fused)


def _official(fused: bool) -> tuple[Rule, ...]:
    return _rules("stage0", "stage{stage}", "linear", OFFICIAL, fused)


def _rules(stem: str, stage: str, head: str, names: BlockNames, fused: bool) -> tuple[Rule, ...]:
    return (
        *block_rules(stem, "stem", names, fused=fused),
        *(
            rule
            for kind in ("depthwise", "pointwise")
            for rule in block_rules(
                f"{stage}.{{{kind}}}", f"stage{{stage}}.block{{{kind}}}.{kind}", names, fused=fused
            )
        ),
        Rule(head, "head", LINEAR),
    )


def _numbering(first_stage: int) -> Numbering:
    """Depthwise and 1x1 blocks alternate in a list there, from 0; here a pair of them is a block, from 1."""

    def to_target(numbers: Numbers) -> Numbers:
        found = {}
        for key, number in numbers.items():
            if key in ("depthwise", "pointwise"):
                if number % 2 != (key == "pointwise"):
                    raise KeyError(number)
                found[key] = number // 2 + 1
            else:
                found[key] = number + (1 - first_stage if key == "stage" else 1)
        return found

    def to_source(numbers: Numbers) -> Numbers:
        offsets = {"depthwise": -2, "pointwise": -1}
        return {
            key: 2 * number + offsets[key]
            if key in offsets
            else number - (1 - first_stage if key == "stage" else 1)
            for key, number in numbers.items()
        }

    return Numbering(to_target, to_source)
