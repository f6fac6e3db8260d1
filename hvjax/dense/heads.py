"""Heads for dense prediction by name: a model is a `BACKBONE+HEAD`, such as "next_vit_s+semantic_fpn"."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from hvjax.dense import fusion
from hvjax.dense.config import DenseConfig
from hvjax.dense.mask_rcnn import MaskRCNN
from hvjax.dense.mask_rcnn_config import MaskRCNNConfig
from hvjax.dense.output_norms import OUTPUT_NORMS
from hvjax.dense.semantic_fpn import SemanticFPN, SemanticFPNConfig
from hvjax.dense.taps import DenseModel
from hvjax.dense.upernet import UPerNet, UPerNetConfig
from hvjax.reparam.rules import Rule
from hvjax.spec import Spec
from hvjax.weights.rules import Table

SEGMENTATION, DETECTION = "segmentation", "detection"


@dataclass(frozen=True)
class Head:
    """What stands on a backbone.

    Attributes:
      model: the Linen class.
      config: the class of its numbers.
      fusion_rules: config -> the rules by which `hvjax.reparameterize` fuses backbone and head.
      task: "segmentation" or "detection".
      paper: arXiv number.
      image_size: pixels a side that backbones with tables of positions are made for, unless told otherwise.
    """

    model: type[DenseModel]
    config: type[DenseConfig]
    fusion_rules: Callable[[Any], tuple[Rule, ...]]
    task: str
    paper: str
    image_size: int


HEADS: dict[str, Head] = {
    "semantic_fpn": Head(
        SemanticFPN, SemanticFPNConfig, fusion.semantic_fpn_rules, SEGMENTATION, "1901.02446", 512
    ),
    "upernet": Head(UPerNet, UPerNetConfig, fusion.upernet_rules, SEGMENTATION, "1807.10221", 512),
    "mask_rcnn": Head(MaskRCNN, MaskRCNNConfig, fusion.backbone_rules, DETECTION, "1703.06870", 800),
}


def get_head(name: str) -> Head:
    """Head by name.

    Raises:
      ValueError: if there is none of this name; the message lists what there is.
    """
    if name not in HEADS:
        close = difflib.get_close_matches(name.lower().replace("-", "_"), HEADS, n=2)
        hint = f"did you mean {' or '.join(close)}?" if close else f"known heads: {', '.join(HEADS)}"
        raise ValueError(f"there is no head {name!r}; {hint}")
    return HEADS[name]


def dense_spec(row: Spec, name: str) -> Spec:
    """Row of the model that the head `name` makes of the backbone of `row`.

    Images are prepared as for the backbone. Nothing is published: the weights of the backbone come in by
    `hvjax.dense.start`.

    Raises:
      ValueError: if there is no head of this name.
    """
    head = get_head(name)
    tied = {"image_size": (head.image_size,) * 2} if hasattr(row.config, "image_size") else {}
    backbone = replace(row.config, num_classes=0, **tied)
    return replace(
        row,
        model=head.model,
        config=head.config(backbone=backbone, output_norms=OUTPUT_NORMS.get(row.model, "none")),
        fusion_rules=head.fusion_rules,
        weight_tables=_no_tables,
        paper=head.paper,
        published=(),
        image_size=head.image_size,
        crop_pct=1.0,
        timm=None,
        pretrained=(),
    )


def _no_tables(config: Any) -> tuple[Table, ...]:
    """Return nothing: checkpoints of whole segmenters and detectors are not read."""
    del config
    return ()
