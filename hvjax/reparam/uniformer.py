"""Where the batch norms, the layer scales and the position encodings' residuals of UniFormer go."""

from __future__ import annotations

from functools import partial
from typing import Any

from hvjax.reparam import rules
from hvjax.reparam.branches import add_identity
from hvjax.reparam.rules import Rule

EPSILON = 1e-5  # of every batch norm in the network

into_previous = partial(rules.into_previous, epsilon=EPSILON)
into_following = partial(rules.into_following, epsilon=EPSILON)
to_affine = partial(rules.to_affine, epsilon=EPSILON)


def fusion_rules(config: Any) -> tuple[Rule, ...]:
    """Return the table for a `UniFormerConfig`."""
    return (
        *(CONV_STEM if config.conv_stem else ()),
        Rule("stage*.block*", add_identity("pos_embed")),
        Rule("stage{1,2}.block*", into_following("norm1", "mhra.value")),
        Rule("stage{1,2}.block*", into_following("norm2", "mlp.fc1")),
        *(() if config.layer_scale is None else LAYER_SCALE),
        Rule("", into_following("norm", "head") if config.num_classes else to_affine("norm"), tail=True),
    )


CONV_STEM = (
    Rule("stem.unit*", into_previous("norm", "conv")),
    Rule("stage*.patch_embed", into_previous("norm", "conv")),
)
LAYER_SCALE = (
    Rule("stage*.block*[scale1]", rules.scale_into_previous("scale1", "mhra.proj")),
    Rule("stage*.block*[scale2]", rules.scale_into_previous("scale2", "mlp.fc2")),
)
