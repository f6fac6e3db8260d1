"""CMT (Guo et al., arXiv 2107.06263); published results of the official README."""

from __future__ import annotations

from hvjax.models.cmt import CMT, CMTConfig
from hvjax.reparam import cmt as fusion
from hvjax.spec import Result, Spec
from hvjax.weights import cmt as weights

SOURCE = "huawei-noah/Efficient-AI-Backbones cmt_pytorch/README.md"


def _row(size: int, top1: float, config: CMTConfig) -> Spec:
    return Spec(
        model=CMT,
        config=config,
        fusion_rules=fusion.fusion_rules,
        weight_tables=weights.tables,
        paper="2107.06263",
        published=(Result(top1, size, SOURCE),),
        channels=(config.stem_channels, *config.widths),
        strides=(2, 4, 8, 16, 32),
        image_size=size,
        crop_pct=0.9,
    )


def _widths(first: int) -> tuple[int, ...]:
    return first, 2 * first, 4 * first, 8 * first


ROWS: dict[str, Spec] = {
    "cmt_ti": _row(
        160,
        79.0,
        CMTConfig(
            image_size=(160, 160), depths=(2, 2, 10, 2), widths=_widths(46), mlp_ratio=3.6, stem_channels=16
        ),
    ),
    "cmt_xs": _row(
        192,
        81.8,
        CMTConfig(
            image_size=(192, 192), depths=(3, 3, 12, 3), widths=_widths(52), mlp_ratio=3.77, stem_channels=16
        ),
    ),
    "cmt_s": _row(224, 83.5, CMTConfig()),
    "cmt_b": _row(
        256,
        84.5,
        CMTConfig(image_size=(256, 256), depths=(4, 4, 20, 4), widths=_widths(76), stem_channels=38),
    ),
}
