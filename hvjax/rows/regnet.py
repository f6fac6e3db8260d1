"""RegNetY (Radosavovic et al., arXiv 2003.13678); published results of timm's evaluation."""

from __future__ import annotations

from hvjax.models.regnet import RegNetY, RegNetYConfig
from hvjax.reparam import regnet as fusion
from hvjax.spec import Pretrained, Result, Spec
from hvjax.weights import regnet as weights

SOURCE = "huggingface/pytorch-image-models results/results-imagenet.csv, regnety_160.deit_in1k"

ROWS: dict[str, Spec] = {
    "regnety_160": Spec(
        model=RegNetY,
        config=RegNetYConfig(),
        fusion_rules=fusion.fusion_rules,
        weight_tables=weights.tables,
        paper="2003.13678",
        published=(Result(83.0, 224, SOURCE), Result(83.704, 288, SOURCE)),
        channels=(32, 224, 448, 1232, 3024),
        strides=(2, 4, 8, 16, 32),
        crop_pct=0.95,
        timm="regnety_160",
        pretrained=(Pretrained("deit_in1k", "timm/regnety_160.deit_in1k", "apache-2.0"),),
        note="deit_in1k is the teacher that FastViT was distilled from; other published weights of this "
        "architecture are different networks",
    ),
}
