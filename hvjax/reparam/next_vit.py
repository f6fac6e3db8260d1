"""Where the batch norms of Next-ViT go; none is left in the deploy form.

The norms after a convolution go into it. Those before an MLP, E-MHSA and the head go into the layer
that follows, the first two as the reference implementation merges them (bytedance/Next-ViT,
classification/nextvit.py, `merge_bn`).

Of the ablations, layer norms stay where they are, and what stands for an NCB has the rules of its kind.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from hvjax.reparam import rules
from hvjax.reparam.rules import Rule

EPSILON = 1e-5  # of every batch norm in the network

into_previous = partial(rules.into_previous, epsilon=EPSILON)
into_following = partial(rules.into_following, epsilon=EPSILON)
to_affine = partial(rules.to_affine, epsilon=EPSILON)


def fusion_rules(config: Any) -> tuple[Rule, ...]:
    """Return the table for a `NextViTConfig`, without the lines of blocks that it does not have."""
    blocks = _other_block_rules(config) if any("C" in stage for stage in config.blocks) else ()
    if config.norm == "layer":
        return blocks
    ncb = config.conv_block == "ncb" and any("C" in stage for stage in config.blocks)
    ratios = [s for stage, s in zip(config.blocks, config.reduction_ratios, strict=True) if "T" in stage]
    attends, convolves = bool(ratios) and config.mix_ratio > 0, bool(ratios) and config.mix_ratio < 1
    return (
        Rule("stem.unit*", into_previous("norm", "conv")),
        Rule("stage*.block*.patch_embed", into_previous("norm", "conv")),
        *(CONV_ATTENTION if ncb or convolves else ()),
        *(PROJECTION if attends and convolves else ()),
        *(CONVOLUTION_BLOCK if ncb else ()),
        *blocks,
        *(REDUCED_ATTENTION if attends and any(s > 1 for s in ratios) else ()),
        *(ATTENTION if attends else ()),
        *(TRANSFORMER_BLOCK if ratios else ()),
        *(STAGE_NORMS if config.stage_norms else ()),
        Rule("", into_following("norm", "head") if config.num_classes else to_affine("norm"), tail=True),
    )


def _other_block_rules(config: Any) -> tuple[Rule, ...]:
    """Rules of what stands for an NCB; "transformer" and "lsa" have nothing to fuse."""
    if config.conv_block == "bottleneck":
        return BOTTLENECK
    if config.conv_block == "convnext":
        return (Rule("stage*.block*.convnext", rules.scale_into_previous("layer_scale", "mlp.fc2")),)
    if config.conv_block == "pool":
        scale = Rule("stage*.block*.pool", rules.scale_into_previous("layer_scale2", "mlp.fc2"))
        return (scale,) if config.norm == "layer" else (scale, *POOL_NORMS)
    return ()


CONV_ATTENTION = (Rule("stage*.block*.mhca", into_previous("norm", "conv")),)
PROJECTION = (Rule("stage*.block*.projection", into_previous("norm", "conv")),)
CONVOLUTION_BLOCK = (Rule("stage*.block*[norm]", into_following("norm", "mlp.fc1")),)
ATTENTION = (Rule("stage*.block*[norm1]", into_following("norm1", "e_mhsa.q", "e_mhsa.k", "e_mhsa.v")),)
TRANSFORMER_BLOCK = (Rule("stage*.block*[norm2]", into_following("norm2", "mlp.fc1")),)
# Keys and values see norm1, then the mean over tokens, then this norm, so it is the first to go into k and v.
# The mean commutes with norm1, which the rule above then folds into the same layers.
REDUCED_ATTENTION = (Rule("stage*.block*.e_mhsa[norm]", into_following("norm", "k", "v")),)
BOTTLENECK = tuple(Rule("stage*.block*.bottleneck", into_previous(f"norm{i}", f"conv{i}")) for i in (1, 2, 3))
POOL_NORMS = (
    Rule("stage*.block*.pool", rules.into_scale_of_difference("norm1", "layer_scale1", epsilon=EPSILON)),
    Rule("stage*.block*.pool", into_following("norm2", "mlp.fc1")),
)
# Two layers read the output of a stage, one of them in the next stage, and a neck may read it too.
STAGE_NORMS = tuple(Rule("", to_affine(f"stage_norm{i}")) for i in (1, 2, 3, 4))
