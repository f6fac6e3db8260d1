"""Where the batch norms of ResNet go: each into the convolution before it."""

from __future__ import annotations

from functools import partial
from typing import Any

from hvjax.reparam import rules
from hvjax.reparam.rules import Rule

EPSILON = 1e-5  # of every batch norm in the network

into_previous = partial(rules.into_previous, epsilon=EPSILON)


def fusion_rules(config: Any) -> tuple[Rule, ...]:
    """Return the table for a `ResNetConfig`; it is the same for all."""
    del config
    return (
        Rule("stem", into_previous("norm", "conv")),
        Rule("stage*.block*", into_previous("norm1", "conv1")),
        Rule("stage*.block*", into_previous("norm2", "conv2")),
        Rule("stage*.block*", into_previous("norm3", "conv3")),
        Rule("stage*.block*.shortcut", into_previous("norm", "conv")),
    )
