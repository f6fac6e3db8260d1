"""PVT has layer norms only, which no linear layer can hold: its deploy form is its training form."""

from __future__ import annotations

from typing import Any

from hvjax.reparam.rules import Rule


def fusion_rules(config: Any) -> tuple[Rule, ...]:
    """No rules, for a `PVTConfig`."""
    del config
    return ()
