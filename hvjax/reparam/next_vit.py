"""Where the batch norms of Next-ViT go; none is left in the deploy form.

The norms after a convolution go into it. Those before an MLP, E-MHSA and the head go into the layer
that follows, the first two as the reference implementation merges them (bytedance/Next-ViT,
classification/nextvit.py, `merge_bn`).
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
    conv_blocks = any("C" in stage for stage in config.blocks)
    attention = [s for stage, s in zip(config.blocks, config.reduction_ratios, strict=True) if "T" in stage]
    return (
        Rule("stem.unit*", into_previous("norm", "conv")),
        Rule("stage*.block*.{patch_embed,mhca,projection}", into_previous("norm", "conv")),
        *(CONVOLUTION_BLOCK if conv_blocks else ()),
        *(REDUCED_ATTENTION if any(s > 1 for s in attention) else ()),
        *(TRANSFORMER_BLOCK if attention else ()),
        Rule("", into_following("norm", "head") if config.num_classes else to_affine("norm")),
    )


CONVOLUTION_BLOCK = (Rule("stage*.block*[norm]", into_following("norm", "mlp.fc1")),)
TRANSFORMER_BLOCK = (
    Rule("stage*.block*[norm1]", into_following("norm1", "e_mhsa.q", "e_mhsa.k", "e_mhsa.v")),
    Rule("stage*.block*[norm2]", into_following("norm2", "mlp.fc1")),
)
# Keys and values see norm1, then the mean over tokens, then this norm, so it is the first to go into k and v.
# The mean commutes with norm1, which the rule above then folds into the same layers.
REDUCED_ATTENTION = (Rule("stage*.block*.e_mhsa[norm]", into_following("norm", "k", "v")),)
