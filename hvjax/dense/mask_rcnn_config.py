"""The numbers of Mask R-CNN."""

from __future__ import annotations

from dataclasses import dataclass

from hvjax.dense.anchors import RATIOS, SCALE
from hvjax.dense.config import DenseConfig
from hvjax.models.numbers import NUMBERS, check_integer, check_positive


@dataclass(frozen=True)
class MaskRCNNConfig(DenseConfig):
    """Mask R-CNN on a backbone. The defaults are mmdetection's, for COCO.

    Attributes:
      channels: of the feature pyramid and of the heads on it.
      hidden: features of the box head's dense layers.
      mask_convs: convolutions of the mask head.
      anchor_scale: side of the square anchor, in strides of its level.
      anchor_ratios: height by width of the anchors.
      anchor_samples, anchor_positives: anchors that learn from each image, and those of objects at most.
      train_candidates, candidates: the best anchors of each level, which may become proposals, in training
        and otherwise.
      proposal_overlap: proposals of one level do not overlap more.
      proposals: boxes that the box head looks at.
      samples, positives: proposals that learn from each image, and those of objects at most; the latter also
        learn masks.
      box_cells, mask_cells: cells per side of what the heads see of a box; masks have twice as many.
      sampling_ratio: points per side of a cell that its value is the mean of.
      least_score: detections that are not more probable are dropped.
      overlap: detections of one class do not overlap more.
      detection_candidates: pairs of proposal and class that are compared.
      detections: places in the result.

    Raises:
      ValueError: if the numbers do not fit together.
    """

    num_classes: int = 80
    channels: int = 256
    hidden: int = 1024
    mask_convs: int = 4
    anchor_scale: float = SCALE
    anchor_ratios: tuple[float, ...] = RATIOS
    anchor_samples: int = 256
    anchor_positives: int = 128
    train_candidates: int = 2000
    candidates: int = 1000
    proposal_overlap: float = 0.7
    proposals: int = 1000
    samples: int = 512
    positives: int = 128
    box_cells: int = 7
    mask_cells: int = 14
    sampling_ratio: int = 2
    least_score: float = 0.05
    overlap: float = 0.5
    detection_candidates: int = 1000
    detections: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        counts = (
            *("channels", "hidden", "anchor_samples", "anchor_positives", "train_candidates", "candidates"),
            *("proposals", "samples", "positives", "box_cells", "mask_cells", "sampling_ratio"),
            *("detection_candidates", "detections"),
        )
        for name in counts:
            check_integer(name, getattr(self, name), 1)
        check_integer("mask_convs", self.mask_convs, 0)
        check_positive("anchor_scale", self.anchor_scale)
        if not isinstance(self.anchor_ratios, tuple) or not self.anchor_ratios:
            raise ValueError(f"anchor_ratios={self.anchor_ratios!r}: expected one or more numbers > 0")
        for ratio in self.anchor_ratios:
            check_positive("anchor_ratios", ratio)
        for name in ("proposal_overlap", "least_score", "overlap"):
            value = getattr(self, name)
            if not isinstance(value, NUMBERS) or not 0 <= value <= 1:
                raise ValueError(f"{name}={value!r}: expected a number, 0 <= {name} <= 1")
        for some, every in (("anchor_positives", "anchor_samples"), ("positives", "samples")):
            if getattr(self, some) > getattr(self, every):
                raise ValueError(
                    f"{some}={getattr(self, some)}: expected at most {every}={getattr(self, every)}"
                )
