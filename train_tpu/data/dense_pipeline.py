"""The grain pipeline of segmentation and detection: order -> read -> augment -> pad -> batches of static shape.

It promises what train_tpu/data/pipeline.py does: one endless stream of shuffled epochs, dealt out in turn to
the hosts, in which global batch k holds the same images, equally augmented, for any number of hosts and
threads; a position that is one number; unreadable images skipped and accounted for.

An image lies at the top left of its canvas; the rest has the mean colour, which normalisation makes zero.
"""

import functools
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import cv2
import grain
import numpy as np
from jaxtyping import Bool, Float, UInt8

from hvjax.spec import IMAGENET_MEAN
from train_tpu.config import Config
from train_tpu.data import geometry
from train_tpu.data.decode import decode, decode_stored
from train_tpu.data.dense_examples import (
    DETECTION,
    IGNORE,
    SEGMENTATION,
    Bitmap,
    DenseExample,
    DenseSource,
)
from train_tpu.data.quarantine import CorruptImages
from train_tpu.data.reading import Reader, read_options
from train_tpu.data.watchdog import Watchdog
from train_tpu.errors import RunFailed

#: Changes an example whose image and masks are drawn; what it gives must fit into the canvas.
Augment: TypeAlias = Callable[[DenseExample, np.random.Generator], DenseExample]
Batch: TypeAlias = dict[str, np.ndarray]


def train_batches(
    source: DenseSource,
    data: Config,
    task: str,
    *,
    augment: Augment,
    seed: int,
    batch_size: int,
    corrupt: CorruptImages,
    process: tuple[int, int] = (0, 1),
    watchdog: Watchdog | None = None,
    mean: Sequence[float] = IMAGENET_MEAN,
) -> grain.DatasetIterator:
    """Endless iterator over batches as `batch_shapes` says, on the canvas `data.canvas`.

    Reads of `data`: canvas (height, width), threads; for detection max_objects and mask_size.

    Args:
      task: "segmentation" or "detection".
      augment: random changes of an example; its place in the global stream alone seeds them.
      batch_size: of this host.
      process: (index, count) of the hosts.
      watchdog: is told what each thread reads.
      mean: of the model's input, 0 to 1: the colour of padding.
    Returns:
      An iterator with get_state() and set_state(), the position of the next batch.
    """
    ...


def eval_batches(
    source: DenseSource,
    data: Config,
    task: str,
    *,
    batch_size: int,
    corrupt: CorruptImages,
    process: tuple[int, int] = (0, 1),
    watchdog: Watchdog | None = None,
    mean: Sequence[float] = IMAGENET_MEAN,
) -> Iterator[Batch]:
    """One pass over the source, on the canvas `data.eval_canvas`.

    An image is resized, its ratio kept, so that its sides are at most `data.eval_resize` (shorter, longer),
    and further if it does not fit into the canvas. Every host gets the same number of equal batches: what is
    missing (the last batch, skipped images) is filled with black rows of index -1.
    """
    ...


def sample(
    source: DenseSource, data: Config, task: str, count: int, corrupt: CorruptImages
) -> Batch:
    """Up to `count` examples, spread evenly over the source, as evaluation sees them."""
    ...


def batch_shapes(
    data: Config, task: str, size: int, canvas: tuple[int, int]
) -> dict[str, tuple[tuple[int, ...], type]]:
    """Name -> (shape, dtype) of what a batch of `size` rows on this canvas is made of."""
    ...
