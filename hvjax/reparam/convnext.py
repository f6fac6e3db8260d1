"""What is fused in ConvNeXt: the layer scales. Its norms are layer norms, which depend on the input."""

from __future__ import annotations

from typing import Any

from hvjax.reparam.rules import Rule, scale_into_previous


def fusion_rules(config: Any) -> tuple[Rule, ...]:
    """Return the table for a `ConvNeXtConfig`; it is the same for all."""
    del config
    return (Rule("stage*.block*", scale_into_previous("layer_scale", "mlp.fc2")),)
