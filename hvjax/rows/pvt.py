"""PVT, first version (Wang et al., arXiv 2102.12122), and its refinement in the TRT-ViT study."""

from __future__ import annotations

from hvjax.models.pvt import PVT, PVTConfig
from hvjax.reparam import pvt as fusion
from hvjax.rows import trt_vit
from hvjax.spec import Result, Spec
from hvjax.weights import pvt as weights

PAPER, SOURCE = "2102.12122", "whai362/PVT classification/README.md"
MEDIUM_DROP_PATH = 0.3  # classification/configs/pvt/pvt_medium.py; that of PVT-Small is 0.1


def _row(config: PVTConfig, published: tuple[Result, ...], paper: str = PAPER, note: str = "") -> Spec:
    return Spec(
        model=PVT,
        config=config,
        fusion_rules=fusion.fusion_rules,
        weight_tables=weights.tables,
        paper=paper,
        published=published,
        channels=(64, 64, 128, 320, 512),
        note=note,
    )


ROWS: dict[str, Spec] = {
    "pvt_small": _row(PVTConfig(), (Result(79.8, 224, SOURCE),)),
    "pvt_medium": _row(
        PVTConfig(depths=(3, 4, 18, 3), drop_path_rate=MEDIUM_DROP_PATH), (Result(81.2, 224, SOURCE),)
    ),
    "refined_pvt_small": _row(
        PVTConfig(depths=trt_vit.REFINED_DEPTHS),
        (),
        trt_vit.PAPER,
        trt_vit.NO_TARGET.format("PVT-Small with blocks moved to late stages"),
    ),
    "refined_pvt_medium": _row(
        PVTConfig(depths=(2, 3, 20, 5), drop_path_rate=MEDIUM_DROP_PATH),
        (),
        trt_vit.PAPER,
        trt_vit.NO_TARGET.format("PVT-Medium with blocks moved to late stages"),
    ),
}
