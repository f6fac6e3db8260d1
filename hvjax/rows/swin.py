"""Swin (Liu et al., arXiv 2103.14030); published results of microsoft/Swin-Transformer README.md."""

from __future__ import annotations

from hvjax.models.swin import Swin, SwinConfig
from hvjax.reparam import swin as fusion
from hvjax.spec import Pretrained, Result, Spec
from hvjax.weights import swin as weights

SOURCE = "microsoft/Swin-Transformer README.md"
LICENSE = "mit"


def _row(size: str, embed_dim: int, depth: int, heads: int, drop_path_rate: float, top1: float) -> Spec:
    """Row of one size: channels and heads of stage 1, blocks of stage 3."""
    twin = f"swin_{size}_patch4_window7_224"
    tags = ("ms_in1k", "ms_in22k_ft_in1k")
    return Spec(
        model=Swin,
        config=SwinConfig(
            embed_dim=embed_dim,
            depths=(2, 2, depth, 2),
            heads=(heads, 2 * heads, 4 * heads, 8 * heads),
            drop_path_rate=drop_path_rate,
        ),
        fusion_rules=fusion.fusion_rules,
        weight_tables=weights.tables,
        paper="2103.14030",
        published=(Result(top1, 224, SOURCE),),
        channels=(embed_dim, embed_dim, 2 * embed_dim, 4 * embed_dim, 8 * embed_dim),
        crop_pct=0.9,
        timm=twin,
        pretrained=tuple(Pretrained(tag, f"timm/{twin}.{tag}", LICENSE) for tag in tags),
    )


ROWS: dict[str, Spec] = {
    "swin_t": _row("tiny", 96, 6, 3, 0.2, 81.2),
    "swin_s": _row("small", 96, 18, 3, 0.3, 83.2),
    "swin_b": _row("base", 128, 18, 4, 0.5, 83.5),
}
