"""EfficientFormer (Li et al., arXiv 2206.01191); published results of the official README."""

from __future__ import annotations

from hvjax.models.efficientformer import EfficientFormer, EfficientFormerConfig
from hvjax.reparam import efficientformer as fusion
from hvjax.spec import Pretrained, Result, Spec
from hvjax.weights import efficientformer as weights

SOURCE = "snap-research/EfficientFormer README.md"


def _row(
    name: str, depths: tuple[int, ...], widths: tuple[int, ...], attention_blocks: int, top1: float
) -> Spec:
    """Row of one size.

    The crop is the official one (util/datasets.py); timm evaluates its copies of the weights with 0.95.
    """
    return Spec(
        model=EfficientFormer,
        config=EfficientFormerConfig(depths=depths, widths=widths, attention_blocks=attention_blocks),
        fusion_rules=fusion.fusion_rules,
        weight_tables=weights.tables,
        paper="2206.01191",
        published=(Result(top1, 224, SOURCE),),
        channels=(widths[0], *widths),
        timm=name,
        pretrained=(Pretrained("snap_dist_in1k", f"timm/{name}.snap_dist_in1k", "apache-2.0"),),
    )


ROWS: dict[str, Spec] = {
    "efficientformer_l1": _row("efficientformer_l1", (3, 2, 6, 4), (48, 96, 224, 448), 1, 79.2),
    "efficientformer_l3": _row("efficientformer_l3", (4, 4, 12, 6), (64, 128, 320, 512), 4, 82.4),
    "efficientformer_l7": _row("efficientformer_l7", (6, 6, 18, 8), (96, 192, 384, 768), 8, 83.3),
}
