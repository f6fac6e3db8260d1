"""FastViT for deployment: one convolution wherever training has branches, no batch norm, no layer scale.

Rules marked `upstream` are those of the official code (apple/ml-fastvit models/modules/mobileone.py,
`reparameterize_model`). It leaves the batch norm of the feed-forward networks, that before attention, and the
layer scales of the residual branches, which all go into neighbouring layers here.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from hvjax.reparam import branches, rules
from hvjax.reparam.rules import Rule, scale_into_previous

EPSILON = 1e-5  # of every batch norm in the network

into_previous = partial(rules.into_previous, epsilon=EPSILON)
into_following = partial(rules.into_following, epsilon=EPSILON)
merge_branches = partial(branches.merge_branches, epsilon=EPSILON)
merge_convolutions = partial(branches.merge_convolutions, epsilon=EPSILON)
merge_rep_mixer = partial(branches.merge_rep_mixer, epsilon=EPSILON)


def fusion_rules(config: Any) -> tuple[Rule, ...]:
    """Return the table for a `FastViTConfig`, without the lines of what it does not have."""
    return (
        Rule("stem.unit*", merge_branches(), upstream=True),
        *(LARGE_PATCHES if max(config.patch_kernels) > 3 else ()),
        *(PLAIN_PATCHES if min(config.patch_kernels) == 3 else ()),
        Rule("stage*.downsample.pointwise", merge_branches(), upstream=True),
        *(POSITIONS if any(config.position_kernels) else ()),
        *(REP_MIXER_BLOCK if "repmixer" in config.token_mixers else ()),
        *(ATTENTION_BLOCK if "attention" in config.token_mixers else ()),
        *(LARGE_KERNEL_FFN if any(config.ffn_kernels) else ()),
        Rule("final_conv", merge_branches(), upstream=True, tail=True),
    )


LARGE_PATCHES = (
    Rule("stage*.downsample[small]", merge_convolutions("large", "small", into="conv"), upstream=True),
)
# What then still has a child `large` is one convolution with its norm.
PLAIN_PATCHES = (Rule("stage*.downsample[large]", merge_convolutions("large", into="conv"), upstream=True),)
POSITIONS = (Rule("stage*.position", branches.add_identity("conv"), upstream=True),)
REP_MIXER_BLOCK = (
    Rule("stage*.block*.token_mixer", merge_rep_mixer(), upstream=True),
    Rule("stage*.block*[layer_scale]", scale_into_previous("layer_scale", "mlp.fc2")),
)
ATTENTION_BLOCK = (
    Rule("stage*.block*[norm]", into_following("norm", "attention.qkv")),
    Rule("stage*.block*[layer_scale1]", scale_into_previous("layer_scale1", "attention.proj")),
    Rule("stage*.block*[layer_scale2]", scale_into_previous("layer_scale2", "mlp.fc2")),
)
LARGE_KERNEL_FFN = (Rule("stage*.block*.mlp.conv", into_previous("norm", "conv")),)
