"""PyramidTNT (Han et al., arXiv 2201.00978); published results of huawei-noah/Efficient-AI-Backbones."""

from __future__ import annotations

from hvjax.models.pyramid_tnt import PyramidTNT
from hvjax.models.pyramid_tnt_config import PyramidTNTConfig
from hvjax.reparam import pyramid_tnt as fusion
from hvjax.spec import Result, Spec
from hvjax.weights import pyramid_tnt as weights

SOURCE = "huawei-noah/Efficient-AI-Backbones tnt_pytorch/readme.md"
HALF = (0.5, 0.5, 0.5)


def _row(depths: tuple[int, ...], outer: int, inner: int, heads: int, size: int, top1: float) -> Spec:
    """Row of one size, from the numbers of its first stage.

    The stochastic depth is published for S only, and taken for all.
    """
    growth = (1, 2, 4, 4)
    return Spec(
        model=PyramidTNT,
        config=PyramidTNTConfig(
            image_size=(size, size),
            depths=depths,
            outer_widths=tuple(outer * factor for factor in growth),
            inner_widths=tuple(inner * factor for factor in growth),
            outer_heads=tuple(heads * factor for factor in growth),
            inner_heads=tuple(heads // 2 * factor for factor in growth),
        ),
        fusion_rules=fusion.fusion_rules,
        weight_tables=weights.tables,
        paper="2201.00978",
        published=(Result(top1, size, SOURCE),),
        channels=(outer, *(outer * factor for factor in growth)),
        strides=(8, 8, 16, 32, 64),
        image_size=size,
        mean=HALF,
        std=HALF,
        crop_pct=0.9,
    )


ROWS: dict[str, Spec] = {
    "pyramid_tnt_ti": _row((2, 6, 3, 2), 80, 5, 2, 192, 75.2),
    "pyramid_tnt_s": _row((2, 8, 4, 2), 128, 8, 4, 256, 82.0),
    "pyramid_tnt_m": _row((2, 8, 6, 2), 192, 12, 4, 256, 83.5),
    "pyramid_tnt_b": _row((2, 10, 6, 2), 256, 16, 4, 256, 84.1),
}
