"""Where the batch norms of PyramidTNT go: those of the stem into its convolutions; there are no others."""

from __future__ import annotations

from typing import Any

from hvjax.reparam.rules import Rule, into_previous

EPSILON = 1e-5


def fusion_rules(config: Any) -> tuple[Rule, ...]:
    """Return the table for a `PyramidTNTConfig`; it is the same for all."""
    del config
    return (Rule("stem.*", into_previous("norm", "conv", epsilon=EPSILON)),)
