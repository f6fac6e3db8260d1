"""ConvNeXt (Liu et al., arXiv 2201.03545); published results of timm's evaluation and of the authors."""

from __future__ import annotations

from hvjax.models.convnext import ConvNeXt, ConvNeXtConfig
from hvjax.reparam import convnext as fusion
from hvjax.spec import Pretrained, Result, Spec
from hvjax.weights import convnext as weights

OFFICIAL = "facebookresearch/ConvNeXt README.md"
TIMM = "huggingface/pytorch-image-models results/results-imagenet.csv, convnext_tiny.fb_in1k"
LICENSE = "apache-2.0"


def _row(size: str, config: ConvNeXtConfig, *results: Result) -> Spec:
    twin = f"convnext_{size}"
    tags = ("fb_in1k", "fb_in22k_ft_in1k")
    return Spec(
        model=ConvNeXt,
        config=config,
        fusion_rules=fusion.fusion_rules,
        weight_tables=weights.tables,
        paper="2201.03545",
        published=results,
        channels=(config.widths[0], *config.widths),
        timm=twin,
        pretrained=tuple(Pretrained(tag, f"timm/{twin}.{tag}", LICENSE) for tag in tags),
    )


ROWS: dict[str, Spec] = {
    "convnext_t": _row("tiny", ConvNeXtConfig(), Result(82.066, 224, TIMM)),
    "convnext_b": _row(
        "base",
        ConvNeXtConfig(depths=(3, 3, 27, 3), widths=(128, 256, 512, 1024), drop_path_rate=0.5),
        Result(83.8, 224, OFFICIAL),
    ),
}
