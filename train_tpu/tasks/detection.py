"""Boxes, classes and masks of the objects in an image."""

import dataclasses
from typing import Any

from train_tpu.data.dense_augment import MultiScale
from train_tpu.data.dense_examples import DETECTION, DenseDataset
from train_tpu.evaluation.detection_scores import DetectionMeter
from train_tpu.learning.detecting import Detecting
from train_tpu.learning.objective import normalise
from train_tpu.tasks.dense import Dense


@dataclasses.dataclass(frozen=True)
class Detection(Dense):
    """See `task.Task`. Scores are COCO's, at the images' own size."""

    name = DETECTION

    def augmentation(self) -> MultiScale:
        view, data = self.config.view, self.config.data
        return MultiScale(
            canvas=tuple(data.canvas),
            shorter=tuple(view.shorter),
            longer=view.longer,
            flip=data.flip,
            photometric=view.photometric,
            crop=view.crop_first,
        )

    def objective(self, dataset: DenseDataset) -> Detecting:
        return Detecting(self.spec.mean, self.spec.std)

    def score(self, variables: Any, batch: dict[str, Any], *, model: Any) -> dict[str, Any]:
        images = normalise(batch["image"], self.spec.mean, self.spec.std)
        found = model.apply(variables, images, batch["size"])
        return {**found, **{name: batch[name] for name in ("index", "size", "scale")}}

    def meter(self, dataset: DenseDataset) -> DetectionMeter:
        return DetectionMeter(dataset.class_names, dataset.held_out)

    def said(self, scores: dict[str, float]) -> str:
        parts = [
            f"{kind} AP {scores[f'{kind}_ap']:.2%} (AP50 {scores[f'{kind}_ap50']:.2%})"
            for kind in ("box", "mask")
            if f"{kind}_ap" in scores
        ]
        return "  ".join(parts)
