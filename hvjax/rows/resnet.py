"""ResNet (He et al., arXiv 1512.03385), the form of torchvision; published results of timm's evaluation."""

from __future__ import annotations

from hvjax.models.resnet import ResNet, ResNetConfig
from hvjax.reparam import resnet as fusion
from hvjax.spec import Pretrained, Result, Spec
from hvjax.weights import resnet as weights

SOURCE = "huggingface/pytorch-image-models results/results-imagenet.csv"


def _row(name: str, depths: tuple[int, ...], top1: float) -> Spec:
    return Spec(
        model=ResNet,
        config=ResNetConfig(depths=depths),
        fusion_rules=fusion.fusion_rules,
        weight_tables=weights.tables,
        paper="1512.03385",
        published=(Result(top1, 224, f"{SOURCE}, {name}.tv_in1k"),),
        channels=(64, 256, 512, 1024, 2048),
        interpolation="bilinear",
        timm=name,
        pretrained=(
            Pretrained("tv_in1k", f"timm/{name}.tv_in1k", "bsd-3-clause"),
            Pretrained("a1_in1k", f"timm/{name}.a1_in1k", "apache-2.0", crop_pct=0.95),
        ),
    )


ROWS: dict[str, Spec] = {
    "resnet50": _row("resnet50", (3, 4, 6, 3), 76.156),
    "resnet101": _row("resnet101", (3, 4, 23, 3), 77.404),
}
