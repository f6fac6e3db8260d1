"""A class for every pixel."""

import dataclasses
from typing import Any

import jax.numpy as jnp

from train_tpu.data.dense_augment import RandomCrop
from train_tpu.data.dense_examples import SEGMENTATION, DenseDataset
from train_tpu.evaluation.segmentation_scores import SegmentationMeter, pixel_confusion
from train_tpu.learning.objective import normalise
from train_tpu.learning.segmenting import Segmenting, pixel_loss
from train_tpu.tasks.dense import Dense


@dataclasses.dataclass(frozen=True)
class Segmentation(Dense):
    """See `task.Task`. Scores while training are taken at the size of the evaluation's canvas: mIoU, mean and
    overall accuracy (`evaluation.label_scores` takes them at that of the labels)."""

    name = SEGMENTATION

    def augmentation(self) -> RandomCrop:
        view, data = self.config.view, self.config.data
        return RandomCrop(
            canvas=tuple(data.canvas),
            shorter=view.shorter[0],
            longer=view.longer,
            ratio=tuple(view.ratio),
            most_of_one=view.most_of_one,
            flip=data.flip,
            photometric=view.photometric,
        )

    def objective(self, dataset: DenseDataset) -> Segmenting:
        return Segmenting(self.spec.mean, self.spec.std, self.config.loss.auxiliary)

    def score(self, variables: Any, batch: dict[str, Any], *, model: Any) -> dict[str, Any]:
        logits = model.apply(variables, normalise(batch["image"], self.spec.mean, self.spec.std))
        real = batch["index"] >= 0
        return {
            "confusion": pixel_confusion(
                jnp.argmax(logits, -1), batch["labels"], batch["index"], logits.shape[-1]
            ),
            "loss": pixel_loss(logits, batch["labels"], real),
            "count": real.sum(),
        }

    def meter(self, dataset: DenseDataset) -> SegmentationMeter:
        return SegmentationMeter(dataset.class_names)

    def said(self, scores: dict[str, float]) -> str:
        return (
            f"mIoU {scores['miou']:.2%}  mean accuracy {scores['macc']:.2%}  "
            f"pixels {scores['aacc']:.2%}  loss {scores['loss']:.4f}"
        )
