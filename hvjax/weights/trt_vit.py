"""Names of checkpoints of the TRT-ViT study: none, because none was published."""

from __future__ import annotations

from typing import Any

from hvjax.weights.rules import Table


def tables(config: Any) -> tuple[Table, ...]:
    """No naming, for a `TrtViTConfig`; `hvjax.load_torch` then says so."""
    del config
    return ()
