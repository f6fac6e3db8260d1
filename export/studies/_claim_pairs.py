"""The pairs that FastViT's paper compares, with what it reports of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from export.studies._fastvit import SMALL_FASTVIT

GPU, PHONE, NOT_NAMED = "RTX 2080 Ti", "iPhone 12 Pro", "unnamed device"
CLASSIFIERS, BACKBONES = 8, 2  # the paper's batches on a GPU
DENSE_SIZE = 512  # side of the images of backbones for detection and segmentation


@dataclass(frozen=True)
class Pair:
    """A FastViT and what it is compared with; both are names in the registry.

    Attributes:
      key: of the heat, which `--only` takes.
      text: what the paper says; "" where it gives no latency.
      source: device, runtime and batch of its numbers.
      published: device -> how many times as fast the FastViT is; the first is compared with ours.
      counts: "params" or "macs" -> how many times fewer the FastViT has there.
      backbone: without pooling and classifier.
      image_size: None for the size of each network's own.
      batch: images of one call on a GPU.
      remark: what a reader must know of the comparison.
    """

    key: str
    fastvit: str
    other: str
    text: str
    source: str
    published: Mapping[str, float] = field(default_factory=dict)
    counts: Mapping[str, float] = field(default_factory=dict)
    backbone: bool = False
    image_size: int | None = None
    batch: int = CLASSIFIERS
    remark: str = ""


def _less(per_cent: float) -> float:
    """Less latency in per cent -> how many times as fast."""
    return 1 / (1 - per_cent / 100)


_ON_GPU = f"{GPU}, TensorRT 8.0.1.6"
PAIRS = (
    Pair(
        "mobileone",
        "fastvit_s12",
        "mobileone_s4",
        "FastViT-S12 takes 26.9 % less time than MobileOne-S4",
        f"{_ON_GPU}, batch 8; 26.3 % on an {PHONE}",
        {GPU: _less(26.9), PHONE: _less(26.3)},
    ),
    Pair(
        "convnext",
        "fastvit_ma36",
        "convnext_b",
        "FastViT-MA36 is 2.0 times as fast as ConvNeXt-B",
        f"{_ON_GPU}, batch 8; 1.9 times on an {PHONE}",
        {GPU: 2.0, PHONE: 1.9},
    ),
    Pair(
        "efficientformer",
        "fastvit_sa24",
        "efficientformer_l7",
        "FastViT-SA24 has 2.7 times lower latency than EfficientFormer-L7",
        NOT_NAMED,
        {NOT_NAMED: 2.7},
        {"params": 3.8, "macs": 2.7},
    ),
    Pair(
        "cmt",
        "fastvit_ma36",
        "cmt_s",
        "As a detector's backbone FastViT-MA36 is 2.4 times as fast as CMT-S",
        f"{_ON_GPU}, batch 2; 4.3 times on an {PHONE}",
        {GPU: 2.4, PHONE: 4.3},
        backbone=True,
        image_size=DENSE_SIZE,
        batch=BACKBONES,
        remark="512 px is inferred: the paper states it for segmentation",
    ),
    Pair(
        "poolformer",
        "fastvit_ma36",
        "poolformer_m36",
        "",
        "",
        backbone=True,
        image_size=DENSE_SIZE,
        batch=BACKBONES,
        remark="published is the accuracy: 5.2 % better mIoU on ADE20K; no latency in our sources",
    ),
)

#: Networks of a few channels, for --small.
_NARROW: dict[str, Any] = dict(num_classes=10, depths=(1, 1, 1, 1), widths=(8, 8, 16, 16))
SMALL: dict[str, dict[str, Any]] = {
    **{name: SMALL_FASTVIT for name in ("fastvit_s12", "fastvit_sa24", "fastvit_ma36")},
    "mobileone_s4": dict(_NARROW, stem_channels=8, se_blocks=(0, 0, 1, 1)),
    "convnext_b": _NARROW,
    "efficientformer_l7": dict(_NARROW, depths=(1, 1, 1, 2), attention_blocks=1, heads=2, key_dim=8),
    "cmt_s": dict(_NARROW, heads=(1, 1, 2, 2), stem_channels=8, head_channels=16),
    "poolformer_m36": _NARROW,
}
