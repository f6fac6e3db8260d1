"""Next-ViT (Li et al., arXiv 2207.05501); published results of bytedance/Next-ViT README.md."""

from __future__ import annotations

from hvjax.models.next_vit import NextViT
from hvjax.models.next_vit_config import NextViTConfig
from hvjax.reparam import next_vit as fusion
from hvjax.spec import Pretrained, Result, Spec
from hvjax.weights import next_vit as weights

SOURCE = "bytedance/Next-ViT README.md"
LICENSE = "apache-2.0"


def _row(size: str, groups: int, drop_path_rate: float, top1_224: float, top1_384: float) -> Spec:
    """Row of one size; they differ in the number of (NCB x 4 + NTB) groups of stage 3.

    The crop is the official one; timm evaluates its copies of the same weights with 0.95 and, at 384, 1.0.
    """
    twin = f"nextvit_{size}"
    tags = ("bd_in1k", "bd_in1k_384", "bd_ssld_6m_in1k", "bd_ssld_6m_in1k_384")
    return Spec(
        model=NextViT,
        config=NextViTConfig(blocks=("CCC", "CCCT", "CCCCT" * groups, "CCT"), drop_path_rate=drop_path_rate),
        fusion_rules=fusion.fusion_rules,
        weight_tables=weights.tables,
        paper="2207.05501",
        published=(Result(top1_224, 224, SOURCE), Result(top1_384, 384, SOURCE)),
        channels=(64, 96, 256, 512, 1024),
        timm=twin,
        pretrained=tuple(
            Pretrained(tag, f"timm/{twin}.{tag}", LICENSE, image_size=384 if tag.endswith("384") else None)
            for tag in tags
        ),
    )


ROWS: dict[str, Spec] = {
    "next_vit_s": _row("small", 2, 0.1, 82.5, 83.6),
    "next_vit_b": _row("base", 4, 0.2, 83.2, 84.3),
    "next_vit_l": _row("large", 6, 0.2, 83.6, 84.7),
}
