"""A segmenter scored at the size of each label, where the published mIoU of ADE20K is taken.

On the canvas an image lies at another size than in its file; `label_size` brings its logits to that of its
label, which is read again as it is.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32, Int64, UInt8

from train_tpu.data import geometry
from train_tpu.data.dense_examples import IGNORE, DenseSource
from train_tpu.errors import RunFailed, UserError
from train_tpu.evaluation.label_size import Pair, classes_at
from train_tpu.evaluation.segmentation_scores import SegmentationMeter


class Truth(NamedTuple):
    """place: in the batch. labels: as in the file. shown: (height, width) of the image on the canvas."""

    place: int
    labels: UInt8[np.ndarray, "h w"]
    shown: Pair


class LabelSizeMeter:
    """Adds up a segmenter's answers at the size of the labels.

    Args:
      names: of the classes.
      source: of the held-out images; labels are read from it again.
      sides: (shorter, longer) that an image has at most on the canvas. canvas: its (height, width).
    """

    def __init__(self, names: Sequence[str], source: DenseSource, sides: Pair, canvas: Pair):
        self._meter = SegmentationMeter(names)
        self._classes = len(names)
        self._source = source
        self._sides = sides
        self._canvas = canvas

    def truths(self, index: Int32[np.ndarray, "b"]) -> list[Truth]:
        """The labels of a batch, without those of padding (index -1).

        Raises:
          UserError: a file that was there a moment ago cannot be read.
        """
        found = []
        for place, number in enumerate(np.asarray(index).tolist()):
            if number < 0:
                continue
            try:
                labels = self._source[number]["semantic"]
            except ValueError as error:
                raise UserError(f"a held-out label can no longer be read: {error}") from error
            assert labels is not None
            height, width = labels.shape
            view = geometry.fit(height, width, *self._sides, canvas=self._canvas)
            found.append(Truth(place, labels, (view.height, view.width)))
        return found

    def add(self, logits: Float[Array, "b H W classes"], truths: Sequence[Truth], **sums: float) -> None:
        """Take in the answers to one batch.

        Args:
          logits: on the canvas. truths: of `truths`.
          sums: over the images, of what else is to be averaged, such as loss.
        Raises:
          UserError: a label that is no class.
          RunFailed: a logit of an image is not finite; its greatest would be told as class 0.
        """
        counts: Int64[np.ndarray, "classes+1 classes"] = np.zeros((self._classes + 1, self._classes), int)
        for place, labels, shown in truths:
            if not bool(_finite(logits[place], *shown)):
                raise RunFailed(
                    "the segmenter answers logits that are not finite: damaged weights, or float16 overflowed"
                )
            counts += label_confusion(classes_at(logits[place], shown, labels.shape), labels, self._classes)
        self._meter.add({"confusion": counts, "count": len(truths), **sums})

    def add_counts(self, answers: dict[str, Any]) -> None:
        """The same by counts on the canvas (`SegmentationMeter.add`): right where no image is resized."""
        self._meter.add(answers)

    @property
    def classes(self) -> Any:
        return self._meter.classes

    @property
    def value(self) -> dict[str, float]:
        return self._meter.value


@jax.jit  # not of a slice: each size of an image would be compiled
def _finite(logits: Float[Array, "H W classes"], height: Any, width: Any) -> Array:
    """Whether all logits of an image are finite; the rest of its canvas does not matter."""
    inside = (jnp.arange(logits.shape[0]) < height)[:, None] & (jnp.arange(logits.shape[1]) < width)
    return (jnp.isfinite(logits).all(-1) | ~inside).all()


def resized(truths: Sequence[Truth]) -> bool:
    """Whether an image lies on the canvas at another size than its label has."""
    return any(truth.labels.shape != truth.shown for truth in truths)


def label_confusion(
    predicted: UInt8[np.ndarray, "h w"], labels: UInt8[np.ndarray, "h w"], num_classes: int
) -> Int64[np.ndarray, "classes+1 classes"]:
    """As `segmentation_scores.pixel_confusion`, of one image on the host."""
    counted = labels != IGNORE
    truth = np.minimum(labels[counted].astype(np.int64), num_classes)
    cells = np.bincount(truth * num_classes + predicted[counted], minlength=(num_classes + 1) * num_classes)
    return cells.reshape(num_classes + 1, num_classes)
