"""A segmenter's classes at the size of each label, where the published mIoU of ADE20K is taken.

On the canvas an image lies at another size than in its file. As in mmsegmentation's whole-image test, its
logits are resized to the size of its label, bilinear with centres on centres (align_corners=False), and the
best class of each pixel is compared with the label itself.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Float32, Int32, Int64, UInt8

from train_tpu.data import geometry
from train_tpu.data.dense_examples import IGNORE, DenseSource
from train_tpu.errors import UserError
from train_tpu.evaluation.segmentation_scores import SegmentationMeter

#: Labels are filled up to multiples of so many pixels, since each shape is compiled once.
PADDED = 256
#: Rows of a label that are computed at a time: 2,048 pixels of 150 classes take 10 MB.
ROWS = 8

Pair = tuple[int, int]


class Taps(NamedTuple):
    """Of each pixel along one axis of the label: two pixels of the canvas, and the share of the second."""

    low: Int32[np.ndarray, "n"]
    high: Int32[np.ndarray, "n"]
    share: Float32[np.ndarray, "n"]


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
        """
        counts: Int64[np.ndarray, "classes+1 classes"] = np.zeros((self._classes + 1, self._classes), int)
        for place, labels, shown in truths:
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


def resized(truths: Sequence[Truth]) -> bool:
    """Whether an image lies on the canvas at another size than its label has."""
    return any(truth.labels.shape != truth.shown for truth in truths)


def classes_at(logits: Float[Array, "H W classes"], shown: Pair, size: Pair) -> UInt8[np.ndarray, "h w"]:
    """The best class of each pixel of an image of another size; the first of several that are equal.

    Args:
      logits: on a canvas, on the device or not; 256 classes at most.
      shown: (height, width) of the image at the top left of the canvas. size: (h, w) of the result.
    Raises:
      ValueError: the image does not fit onto the canvas, or a side has no pixel.
    """
    if not all(0 < side <= most for side, most in zip(shown, logits.shape[:2], strict=True)) or min(size) < 1:
        raise ValueError(f"an image of {shown} on a canvas of {logits.shape[:2]}, wanted at {size}")
    found = _classes(logits, _taps(shown[0], size[0]), _taps(shown[1], size[1]))
    return np.asarray(found)[: size[0], : size[1]]


def label_confusion(
    predicted: UInt8[np.ndarray, "h w"], labels: UInt8[np.ndarray, "h w"], num_classes: int
) -> Int64[np.ndarray, "classes+1 classes"]:
    """As `segmentation_scores.pixel_confusion`, of one image on the host."""
    counted = labels != IGNORE
    truth = np.minimum(labels[counted].astype(np.int64), num_classes)
    cells = np.bincount(truth * num_classes + predicted[counted], minlength=(num_classes + 1) * num_classes)
    return cells.reshape(num_classes + 1, num_classes)


def _taps(shown: int, wanted: int) -> Taps:
    """Of `wanted` pixels spread over `shown`, filled up to a multiple of PADDED with the first pixel."""
    centres = np.maximum((np.arange(wanted) + 0.5) * (shown / wanted) - 0.5, 0.0)
    low = np.minimum(centres.astype(np.int32), shown - 1)
    missing = -wanted % PADDED
    parts = low, np.minimum(low + 1, shown - 1), (centres - low).astype(np.float32)
    return Taps(*(np.pad(part, (0, missing)) for part in parts))


@functools.partial(jax.jit)
def _classes(logits: Array, rows: Taps, columns: Taps) -> UInt8[Array, "h w"]:
    def of_rows(rows: Taps) -> Array:
        lines = _between(logits, rows, 0)
        return jnp.argmax(_between(lines, columns, 1), -1).astype(jnp.uint8)

    found = lax.map(of_rows, Taps(*(part.reshape(-1, ROWS) for part in rows)))
    return found.reshape(-1, found.shape[-1])


def _between(values: Array, taps: Taps, axis: int) -> Array:
    share = jnp.expand_dims(taps.share, tuple(i for i in range(values.ndim) if i != axis))
    low, high = (jnp.take(values, where, axis=axis) for where in (taps.low, taps.high))
    return low * (1 - share) + high * share
