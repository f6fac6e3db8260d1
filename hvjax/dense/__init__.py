"""Segmentation and detection on every backbone of the registry.

model = hvjax.create_model("next_vit_s+semantic_fpn", num_classes=150)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hvjax.dense.fpn import FPN
    from hvjax.dense.heads import HEADS
    from hvjax.dense.levels import roi_levels
    from hvjax.dense.mask_rcnn import MaskRCNN
    from hvjax.dense.mask_rcnn_config import MaskRCNNConfig
    from hvjax.dense.paste import paste_mask
    from hvjax.dense.semantic_fpn import SemanticFPN, SemanticFPNConfig
    from hvjax.dense.start import from_classifier
    from hvjax.dense.taps import classifier_of
    from hvjax.dense.upernet import UPerNet, UPerNetConfig

__all__ = [
    "FPN",
    "HEADS",
    "MaskRCNN",
    "MaskRCNNConfig",
    "SemanticFPN",
    "SemanticFPNConfig",
    "UPerNet",
    "UPerNetConfig",
    "classifier_of",
    "from_classifier",
    "paste_mask",
    "roi_levels",
]

# Names are fetched on first use: `paste_mask` needs neither jax nor flax.
_HOMES = {
    "FPN": "hvjax.dense.fpn",
    "HEADS": "hvjax.dense.heads",
    "MaskRCNN": "hvjax.dense.mask_rcnn",
    "MaskRCNNConfig": "hvjax.dense.mask_rcnn_config",
    "SemanticFPN": "hvjax.dense.semantic_fpn",
    "SemanticFPNConfig": "hvjax.dense.semantic_fpn",
    "UPerNet": "hvjax.dense.upernet",
    "UPerNetConfig": "hvjax.dense.upernet",
    "classifier_of": "hvjax.dense.taps",
    "from_classifier": "hvjax.dense.start",
    "paste_mask": "hvjax.dense.paste",
    "roi_levels": "hvjax.dense.levels",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'hvjax.dense' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
