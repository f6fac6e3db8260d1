"""MobileOne for deployment: each block is one convolution, as the reference implementations make it."""

from __future__ import annotations

from typing import Any

from hvjax.reparam.branches import merge_branches
from hvjax.reparam.rules import Rule

EPSILON = 1e-5  # of every batch norm in the network


def fusion_rules(config: Any) -> tuple[Rule, ...]:
    """Return the table for a `MobileOneConfig`; it is the same for all."""
    del config
    return (
        Rule("stem", merge_branches(epsilon=EPSILON), upstream=True),
        Rule("stage*.block*.{depthwise,pointwise}", merge_branches(epsilon=EPSILON), upstream=True),
    )
