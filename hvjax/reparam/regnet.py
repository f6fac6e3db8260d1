"""Where the batch norms of RegNetY go: each into the convolution before it, as in ResNet."""

from __future__ import annotations

from typing import Any

from hvjax.reparam import resnet
from hvjax.reparam.rules import Rule


def fusion_rules(config: Any) -> tuple[Rule, ...]:
    """Return the table for a `RegNetYConfig`: the names of layers and norms are those of ResNet."""
    return resnet.fusion_rules(config)
