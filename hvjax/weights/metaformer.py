"""Names of PoolFormer checkpoints in timm.

The original code (sail-sg/poolformer) is another function: its last norm is a group norm before the mean.
There is no code with RepMixer in this frame; its tensors are named as timm names those of FastViT's.
"""

from __future__ import annotations

from typing import Any

from hvjax.weights.rep_conv import TIMM, block_rules
from hvjax.weights.rules import CONV_BIAS, LAYER_NORM, LINEAR, NORM, Numbering, Rule, Table, vector

_BLOCK, _OURS = "stages.{stage}.blocks.{block}", "stage{stage}.block{block}"

_RULES = (
    Rule("stem.conv", "stem", CONV_BIAS),
    Rule("stages.{stage}.downsample.conv", "stage{stage}.downsample", CONV_BIAS),
    Rule(f"{_BLOCK}.norm1", f"{_OURS}.norm1", LAYER_NORM),
    Rule(f"{_BLOCK}.layer_scale1", f"{_OURS}.layer_scale1", (vector("scale", "gamma"),)),
    Rule(f"{_BLOCK}.token_mixer.norm.identity", f"{_OURS}.token_mixer.norm", NORM),
    *block_rules(f"{_BLOCK}.token_mixer.mixer", f"{_OURS}.token_mixer.mixer", TIMM, fused=False),
    Rule(
        f"{_BLOCK}.token_mixer.layer_scale",
        f"{_OURS}.token_mixer.layer_scale",
        (vector("gamma", "gamma", ones=2),),
    ),
    Rule(f"{_BLOCK}.norm2", f"{_OURS}.norm2", LAYER_NORM),
    Rule(f"{_BLOCK}.mlp.fc1", f"{_OURS}.mlp.fc1", CONV_BIAS),
    Rule(f"{_BLOCK}.mlp.fc2", f"{_OURS}.mlp.fc2", CONV_BIAS),
    Rule(f"{_BLOCK}.layer_scale2", f"{_OURS}.layer_scale2", (vector("scale", "gamma"),)),
    Rule("head.norm", "norm", LAYER_NORM),
    Rule("head.fc", "head", LINEAR),
)

_FROM_ZERO = Numbering(
    to_target=lambda numbers: {key: number + 1 for key, number in numbers.items()},
    to_source=lambda numbers: {key: number - 1 for key, number in numbers.items()},
)


def tables(config: Any) -> tuple[Table, ...]:
    """The one naming, for a `MetaFormerConfig`."""
    del config
    return (Table("timm MetaFormer", _RULES, _FROM_ZERO),)
