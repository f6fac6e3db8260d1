"""Segmentation and detection on every backbone of the registry.

model = hvjax.create_model("next_vit_s+semantic_fpn", num_classes=150)
"""

from hvjax.dense.heads import HEADS

__all__ = ["HEADS"]
