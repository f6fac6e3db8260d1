"""Names of a MobileOne block's tensors, as FastViT and MobileOne checkpoints have them."""

from __future__ import annotations

from dataclasses import dataclass

from hvjax.weights.rules import CONV, CONV_BIAS, NORM, Rule


@dataclass(frozen=True)
class BlockNames:
    """What one code base calls the parts: `conv` and `scale` hold `conv` and `bn`, `skip` is a norm."""

    conv: str
    scale: str
    skip: str
    squeeze: str
    excite: str
    fused: str = "reparam_conv"


OFFICIAL = BlockNames("rbr_conv", "rbr_scale", "rbr_skip", "se.reduce", "se.expand")
TIMM = BlockNames("conv_kxk", "conv_scale", "identity", "se.fc1", "se.fc2")


def block_rules(source: str, target: str, names: BlockNames, *, fused: bool) -> tuple[Rule, ...]:
    """Rules of the block `source` there and `target` here, of a checkpoint saved before or after fusion.

    `{branch}` counts the convolutions, from 0 there and from 1 here.
    """
    squeeze = (
        Rule(f"{source}.{names.squeeze}", f"{target}.se.fc1", CONV_BIAS),
        Rule(f"{source}.{names.excite}", f"{target}.se.fc2", CONV_BIAS),
    )
    if fused:
        return (*squeeze, Rule(f"{source}.{names.fused}", f"{target}.conv", CONV_BIAS))
    branch = f"{source}.{names.conv}.{{branch}}"
    return (
        *squeeze,
        Rule(f"{branch}.conv", f"{target}.conv{{branch}}.conv", CONV),
        Rule(f"{branch}.bn", f"{target}.conv{{branch}}.norm", NORM),
        Rule(f"{source}.{names.scale}.conv", f"{target}.scale.conv", CONV),
        Rule(f"{source}.{names.scale}.bn", f"{target}.scale.norm", NORM),
        Rule(f"{source}.{names.skip}", f"{target}.skip", NORM),
    )
