"""Swin has nothing to fuse: its norms are layer norms, whose statistics depend on the input."""

from __future__ import annotations

from typing import Any

from hvjax.reparam.rules import Rule


def fusion_rules(config: Any) -> tuple[Rule, ...]:
    """Return the empty table: the deploy form is the training form."""
    del config
    return ()
