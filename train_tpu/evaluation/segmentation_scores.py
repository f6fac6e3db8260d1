"""How well a segmenter names pixels: IoU and accuracy of each class, from counts made on the device."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from train_tpu.data.dense_examples import IGNORE
from train_tpu.errors import RunFailed, UserError


@dataclasses.dataclass(frozen=True)
class ClassPixels:
    """pixels: of this class; predicted: taken for it; right: both."""

    name: str
    pixels: int
    predicted: int
    right: int

    @property
    def iou(self) -> float | None:
        """Pixels that are both over pixels that are either; None where there are neither."""
        either = self.pixels + self.predicted - self.right
        return self.right / either if either else None

    @property
    def accuracy(self) -> float | None:
        """right / pixels (the recall of the class); None without pixels."""
        return self.right / self.pixels if self.pixels else None


def pixel_confusion(
    predicted: Int[Array, "b h w"], labels: UInt8[Array, "b h w"], index: Int[Array, "b"], num_classes: int
) -> Int[Array, "classes+1 classes"]:
    """How many pixels of each class (row) are taken for each class (column); runs on the device.

    Pixels labelled IGNORE and images of index -1 count nothing. Labels that are no class are counted in the
    last row, so that the host can complain.

    Args:
      predicted: classes, 0..num_classes - 1.
    Returns:
      int32: right for batches of fewer than 2^31 pixels.
    """
    labels = labels.astype(jnp.int32)
    counted = (labels != IGNORE) & (index >= 0)[:, None, None]
    cell = jnp.minimum(labels, num_classes) * num_classes + predicted
    cells = (num_classes + 1) * num_classes
    # an index beyond the table is dropped
    counts = jnp.zeros(cells, jnp.int32).at[jnp.where(counted, cell, cells)].add(1, mode="drop")
    return counts.reshape(num_classes + 1, num_classes)


@jax.jit
def _confusion_of_logits(
    logits: Float[Array, "b h w classes"], labels: UInt8[Array, "b h w"], index: Int[Array, "b"]
) -> Int[Array, "classes+1 classes"]:
    return pixel_confusion(jnp.argmax(logits, -1), labels, index, logits.shape[-1])


class SegmentationMeter:
    """Adds up what is answered to held-out images, and scores it as mmsegmentation's IoUMetric does.

    Scores are of all pixels together, not means over images. Labels are compared at the size that the batch
    has them in; `label_scores.LabelSizeMeter` has the published protocol.

    Args:
      names: of the classes.
    """

    def __init__(self, names: Sequence[str]):
        self._names = tuple(names)
        self._counts = np.zeros((len(names) + 1, len(names)), np.int64)
        self._images = 0
        self._sums: dict[str, float] = {}

    def add(self, answers: Mapping[str, Any], batch: Mapping[str, Any] | None = None) -> None:
        """Take in the answers to one batch.

        Args:
          answers: either {"confusion": of `pixel_confusion`, "count": images, and sums over images of what
            else is to be averaged, such as "loss"}, or {"logits": (b, h, w, classes)}.
          batch: needed beside logits: "labels" and "index".
        Raises:
          ValueError: the answers are of another number of classes.
          UserError: a label that is no class.
        """
        if "confusion" in answers:
            counts, images = np.asarray(answers["confusion"], np.int64), int(answers["count"])
            for name, value in answers.items():
                if name not in ("confusion", "count"):
                    self._sums[name] = self._sums.get(name, 0.0) + float(value)
        elif batch is None:
            raise ValueError("logits can be scored only beside the batch they answer to")
        else:
            labels, index = batch["labels"], batch["index"]
            counts = np.asarray(_confusion_of_logits(answers["logits"], labels, index), np.int64)
            images = int((np.asarray(index) >= 0).sum())
        if counts.shape != self._counts.shape:
            raise ValueError(f"answers of {counts.shape[-1]} classes; there are {len(self._names)}")
        if strays := int(counts[-1].sum()):
            raise UserError(
                f"{strays} pixels of the held-out images are labelled with a class that is none of the "
                f"{len(self._names)}; expected 0 to {len(self._names) - 1}, or {IGNORE} for no class"
            )
        self._counts += counts
        self._images += images

    @property
    def classes(self) -> list[ClassPixels]:
        """One row a class, in the order of the classes."""
        table = self._counts[:-1]
        return [
            ClassPixels(name, int(table[i].sum()), int(table[:, i].sum()), int(table[i, i]))
            for i, name in enumerate(self._names)
        ]

    @property
    def value(self) -> dict[str, float]:
        """Shares of 1: "miou", "macc" (means over the classes that have one) and "aacc" (of all pixels);
        "count" of images.

        Raises:
          RunFailed: there was no image, or no pixel that has a class.
        """
        if not self._images:
            raise RunFailed("no held-out image could be read; nothing to evaluate")
        classes = self.classes
        pixels = sum(c.pixels for c in classes)
        if not pixels:
            raise RunFailed("no pixel of the held-out images has a class; nothing to evaluate")
        return {
            **{name: total / self._images for name, total in self._sums.items()},
            "miou": _mean([c.iou for c in classes]),
            "macc": _mean([c.accuracy for c in classes]),
            "aacc": sum(c.right for c in classes) / pixels,
            "count": float(self._images),
        }


def segmentation_table(classes: Sequence[ClassPixels]) -> list[str]:
    """IoU and accuracy of each class in percent, the lowest IoU first, as lines; their means at the end.

    Classes that are neither there nor predicted come last, with dashes, and are not in the means.
    """
    width = min(32, max(len("mean"), *(len(c.name) for c in classes)))
    total = sum(c.pixels for c in classes)
    lines = [f"{'class':{width}}    IoU  accuracy  share of pixels"]
    for row in sorted(classes, key=lambda c: (c.iou is None, c.iou or 0.0)):
        share = row.pixels / total if total else 0.0
        lines.append(
            f"{row.name[:width]:{width}}  {_percent(row.iou, 5)}  {_percent(row.accuracy, 8)}  {share:15.2%}"
        )
    iou, accuracy = (_mean_or_none([getattr(c, name) for c in classes]) for name in ("iou", "accuracy"))
    return [*lines, f"{'mean':{width}}  {_percent(iou, 5)}  {_percent(accuracy, 8)}"]


def _mean(shares: Sequence[float | None]) -> float:
    known = [share for share in shares if share is not None]
    return sum(known) / len(known)


def _mean_or_none(shares: Sequence[float | None]) -> float | None:
    return _mean(shares) if any(share is not None for share in shares) else None


def _percent(share: float | None, width: int) -> str:
    return f"{'-':>{width}}" if share is None else f"{100 * share:{width}.2f}"
