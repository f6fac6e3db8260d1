"""MobileOne (Vasu et al., arXiv 2206.04040); published results of the official weights, evaluated by timm."""

from __future__ import annotations

from typing import Any

from hvjax.models.mobileone import MobileOne, MobileOneConfig
from hvjax.reparam import mobileone as fusion
from hvjax.spec import Pretrained, Result, Spec
from hvjax.weights import mobileone as weights

SOURCE = "huggingface/pytorch-image-models results/results-imagenet.csv"
LICENSE = "mobileone-license"  # as timm names it; the file LICENSE of apple/ml-mobileone


def _row(size: str, widths: tuple[int, ...], top1: float, *, crop_pct: float = 0.9, **numbers: Any) -> Spec:
    config = MobileOneConfig(widths=widths, **numbers)
    twin = f"mobileone_{size}"
    return Spec(
        model=MobileOne,
        config=config,
        fusion_rules=fusion.fusion_rules,
        weight_tables=weights.tables,
        paper="2206.04040",
        published=(Result(top1, 224, f"{SOURCE}, {twin}.apple_in1k"),),
        channels=(config.stem_channels, *widths),
        strides=(2, 4, 8, 16, 32),
        crop_pct=crop_pct,
        timm=twin,
        pretrained=(Pretrained("apple_in1k", f"timm/{twin}.apple_in1k", LICENSE),),
    )


_PLAIN: dict[str, Any] = dict(stem_channels=64, branches=1)

ROWS: dict[str, Spec] = {
    "mobileone_s0": _row("s0", (48, 128, 256, 1024), 71.398, crop_pct=0.875),
    "mobileone_s1": _row("s1", (96, 192, 512, 1280), 75.760, **_PLAIN),
    "mobileone_s2": _row("s2", (96, 256, 640, 2048), 77.504, **_PLAIN),
    "mobileone_s3": _row("s3", (128, 320, 768, 2048), 78.002, **_PLAIN),
    "mobileone_s4": _row("s4", (192, 448, 896, 2048), 79.446, se_blocks=(0, 0, 5, 1), **_PLAIN),
}
