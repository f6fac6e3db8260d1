"""FastViT (Vasu et al., arXiv 2303.14189); published results of apple/ml-fastvit README.md."""

from __future__ import annotations

from typing import Any

from hvjax.models.fastvit import FastViT
from hvjax.models.fastvit_config import ATTENTION, REP_MIXER, FastViTConfig
from hvjax.reparam import fastvit as fusion
from hvjax.spec import Pretrained, Result, Spec
from hvjax.weights import fastvit as weights

SOURCE = "apple/ml-fastvit README.md"
LICENSE = "fastvit-license"  # as timm names it; the file LICENSE of apple/ml-fastvit

_ATTENTION: dict[str, Any] = dict(
    token_mixers=(REP_MIXER, REP_MIXER, REP_MIXER, ATTENTION), position_kernels=(0, 0, 0, 7)
)


def _row(
    size: str,
    depths: tuple[int, ...],
    width: int,
    mlp_ratio: int,
    drop_path_rate: float,
    top1: tuple[float, float],
    *,
    crop_pct: float = 0.9,
    **numbers: Any,
) -> Spec:
    """Row of one size; `top1` as trained plainly and with the distillation of a RegNetY-16GF.

    The crop is the official one; timm evaluates SA36 with 0.9. The stochastic depth is that of plain
    training.
    """
    twin = f"fastvit_{size}"
    widths = (width, 2 * width, 4 * width, 8 * width)
    tags = ("apple_in1k", "apple_dist_in1k")
    return Spec(
        model=FastViT,
        config=FastViTConfig(
            depths=depths,
            widths=widths,
            mlp_ratios=(mlp_ratio,) * 4,
            drop_path_rate=drop_path_rate,
            **numbers,
        ),
        fusion_rules=fusion.fusion_rules,
        weight_tables=weights.tables,
        paper="2303.14189",
        published=(Result(top1[0], 256, SOURCE), Result(top1[1], 256, f"{SOURCE}, distilled")),
        channels=(width, *widths),
        image_size=256,
        crop_pct=crop_pct,
        timm=twin,
        pretrained=tuple(Pretrained(tag, f"timm/{twin}.{tag}", LICENSE) for tag in tags),
    )


_SMALL, _MEDIUM, _LARGE = (2, 2, 6, 2), (4, 4, 12, 4), (6, 6, 18, 6)

ROWS: dict[str, Spec] = {
    "fastvit_t8": _row("t8", (2, 2, 4, 2), 48, 3, 0.0, (76.2, 77.2)),
    "fastvit_t12": _row("t12", _SMALL, 64, 3, 0.0, (79.3, 80.3)),
    "fastvit_s12": _row("s12", _SMALL, 64, 4, 0.0, (79.9, 81.1)),
    "fastvit_sa12": _row("sa12", _SMALL, 64, 4, 0.1, (80.9, 81.9), **_ATTENTION),
    "fastvit_sa24": _row("sa24", _MEDIUM, 64, 4, 0.1, (82.7, 83.4), **_ATTENTION),
    "fastvit_sa36": _row(
        "sa36", _LARGE, 64, 4, 0.2, (83.6, 84.2), crop_pct=0.95, layer_scale=1e-6, **_ATTENTION
    ),
    "fastvit_ma36": _row(
        "ma36", _LARGE, 76, 4, 0.35, (83.9, 84.6), crop_pct=0.95, layer_scale=1e-6, **_ATTENTION
    ),
}
