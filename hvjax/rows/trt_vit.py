"""TRT-ViT (Xia et al., arXiv 2205.09579) and the networks of its study. See docs/trt_vit.md.

Nothing here is the paper's table of variants, which is not public as text; each row says so in its note.
"""

from __future__ import annotations

from hvjax.models.resnet import ResNet, ResNetConfig
from hvjax.models.trt_vit import TrtViT, TrtViTConfig
from hvjax.reparam import resnet as resnet_fusion
from hvjax.reparam import trt_vit as fusion
from hvjax.spec import Spec
from hvjax.weights import resnet as resnet_weights
from hvjax.weights import trt_vit as weights

PAPER = "2205.09579"
CALIBRATED = (
    "Calibrated reconstruction, not the paper's table: depths chosen so that the backbone has the 65.4-66.2 "
    "M parameters and 5.5-5.8 GMACs that third-party figures of TRT-ViT-C leave for it (docs/trt_vit.md)."
)
NO_TARGET = "No published target: {} by the paper's guidelines, not the paper's table (docs/trt_vit.md)."

# Fewer blocks in early stages and more in late ones (guideline 2), from the (3, 4, 6, 3) of ResNet-50.
REFINED_DEPTHS = (2, 3, 8, 5)  # with more multiply-adds, as the paper reports of its refined networks
REFINED_MIXNET_DEPTHS = (2, 2, 6, 5)  # with those of MixNetV, "at kept latency"


def _row(config: TrtViTConfig, note: str) -> Spec:
    return Spec(
        model=TrtViT,
        config=config,
        fusion_rules=fusion.fusion_rules,
        weight_tables=weights.tables,
        paper=PAPER,
        published=(),
        channels=(config.stem_channels, *config.channels),
        note=note,
    )


def _variant(depths: tuple[int, ...], last: int, size: str) -> Spec:
    config = TrtViTConfig(depths=depths, channels=(256, 512, 1024, last))
    return _row(config, NO_TARGET.format(size))


def _step(placement: str, depths: tuple[int, ...], last: int, step: str) -> Spec:
    config = TrtViTConfig(depths=depths, placement=placement, channels=(256, 512, 1024, last))
    return _row(config, NO_TARGET.format(step))


ROWS: dict[str, Spec] = {
    "trt_vit_a": _variant((2, 2, 4, 3), 1024, "smaller than TRT-ViT-B"),
    "trt_vit_b": _variant((2, 2, 5, 4), 1536, "of the size between TRT-ViT-A and C, near ResNet-50's cost"),
    "trt_vit_c": _row(TrtViTConfig(), CALIBRATED),
    "trt_vit_d": _variant((2, 3, 10, 6), 2048, "larger than TRT-ViT-C, near ResNet-101's cost"),
    "mixnet_v": _step("CCCT", (3, 4, 6, 3), 768, "ResNet-50 with Transformers in the last stage"),
    "refined_mixnet_v": _step("CCCT", REFINED_MIXNET_DEPTHS, 768, "MixNetV with blocks moved to late stages"),
    "mixnet_a": _step("CCCA", REFINED_MIXNET_DEPTHS, 1536, "MixBlockA for Refined-MixNetV's Transformers"),
    "mixnet_b": _step("CCCB", REFINED_MIXNET_DEPTHS, 1536, "MixBlockB for Refined-MixNetV's Transformers"),
    "mixnet_c": _step("CCCM", REFINED_MIXNET_DEPTHS, 1536, "MixBlockC for Refined-MixNetV's Transformers"),
    "refined_resnet50": Spec(
        model=ResNet,
        config=ResNetConfig(depths=REFINED_DEPTHS),
        fusion_rules=resnet_fusion.fusion_rules,
        weight_tables=resnet_weights.tables,
        paper=PAPER,
        published=(),
        channels=(64, 256, 512, 1024, 2048),
        note=NO_TARGET.format("ResNet-50 with blocks moved to late stages"),
    ),
}
