"""What the deploy form of EfficientFormer fuses.

Each batch norm goes into the convolution before it, each layer scale after a layer with weights into that
layer, and the two heads into one. The layer scale of the pooling stays, because nothing before it has
weights; the layer norms stay, because their statistics depend on the input.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from hvjax.reparam import rules
from hvjax.reparam.heads import mean_of_layers
from hvjax.reparam.rules import Rule

EPSILON = 1e-5  # of every batch norm in the network

into_previous = partial(rules.into_previous, epsilon=EPSILON)


def fusion_rules(config: Any) -> tuple[Rule, ...]:
    """Return the table for an `EfficientFormerConfig`, without the lines of blocks that it does not have."""
    pooling = sum(config.depths) > config.attention_blocks
    return (
        Rule("stem.unit*", into_previous("norm", "conv")),
        Rule("stage*.downsample", into_previous("norm", "conv")),
        *(NORM_MLP if pooling else ()),
        *(ATTENTION if config.attention_blocks else ()),
        Rule("stage*.block*", rules.scale_into_previous("layer_scale2", "mlp.fc2")),
        *((HEADS,) if config.num_classes else ()),
    )


NORM_MLP = (
    Rule("stage*.block*.mlp[norm1]", into_previous("norm1", "fc1")),
    Rule("stage*.block*.mlp[norm2]", into_previous("norm2", "fc2")),
)
ATTENTION = (Rule("stage*.block*[attention]", rules.scale_into_previous("layer_scale1", "attention.proj")),)
HEADS = Rule("head", mean_of_layers("label", "distillation"), tail=True)
