"""Names of ConvNeXt checkpoints: those of the official code (facebookresearch/ConvNeXt) and those of timm."""

from __future__ import annotations

from typing import Any

from hvjax.weights.rules import CONV_BIAS, LAYER_NORM, LINEAR, Numbering, Rule, Table, vector

_BLOCK, _OURS = "stages.{stage}.blocks.{block}", "stage{stage}.block{block}"
_OFFICIAL_BLOCK = "stages.{stage}.{block}"
_GAMMA = (vector("gamma", "gamma"),)

_TIMM = (
    Rule("stem.0", "stem.conv", CONV_BIAS),
    Rule("stem.1", "stem.norm", LAYER_NORM),
    Rule("stages.{stage}.downsample.0", "stage{stage}.downsample.norm", LAYER_NORM),
    Rule("stages.{stage}.downsample.1", "stage{stage}.downsample.conv", CONV_BIAS),
    Rule(_BLOCK, f"{_OURS}.layer_scale", _GAMMA),
    Rule(f"{_BLOCK}.conv_dw", f"{_OURS}.conv", CONV_BIAS),
    Rule(f"{_BLOCK}.norm", f"{_OURS}.norm", LAYER_NORM),
    Rule(f"{_BLOCK}.mlp.fc1", f"{_OURS}.mlp.fc1", LINEAR),
    Rule(f"{_BLOCK}.mlp.fc2", f"{_OURS}.mlp.fc2", LINEAR),
    Rule("head.norm", "norm", LAYER_NORM),
    Rule("head.fc", "head", LINEAR),
)

_OFFICIAL = (
    Rule("downsample_layers.0.0", "stem.conv", CONV_BIAS),
    Rule("downsample_layers.0.1", "stem.norm", LAYER_NORM),
    *(
        rule
        for stage in (1, 2, 3)
        for rule in (
            Rule(f"downsample_layers.{stage}.0", f"stage{stage + 1}.downsample.norm", LAYER_NORM),
            Rule(f"downsample_layers.{stage}.1", f"stage{stage + 1}.downsample.conv", CONV_BIAS),
        )
    ),
    Rule(_OFFICIAL_BLOCK, f"{_OURS}.layer_scale", _GAMMA),
    Rule(f"{_OFFICIAL_BLOCK}.dwconv", f"{_OURS}.conv", CONV_BIAS),
    Rule(f"{_OFFICIAL_BLOCK}.norm", f"{_OURS}.norm", LAYER_NORM),
    Rule(f"{_OFFICIAL_BLOCK}.pwconv1", f"{_OURS}.mlp.fc1", LINEAR),
    Rule(f"{_OFFICIAL_BLOCK}.pwconv2", f"{_OURS}.mlp.fc2", LINEAR),
    Rule("norm", "norm", LAYER_NORM),
    Rule("head", "head", LINEAR),
)

_NUMBERING = Numbering(
    to_target=lambda numbers: {key: number + 1 for key, number in numbers.items()},
    to_source=lambda numbers: {key: number - 1 for key, number in numbers.items()},
)


def tables(config: Any) -> tuple[Table, ...]:
    """Both namings, for a `ConvNeXtConfig`; stages and blocks count from 0 there."""
    del config
    return (Table("timm ConvNeXt", _TIMM, _NUMBERING), Table("official ConvNeXt", _OFFICIAL, _NUMBERING))
