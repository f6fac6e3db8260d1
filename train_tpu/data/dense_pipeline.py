"""The grain pipeline of segmentation and detection: order -> read -> augment -> pad -> static batches.

It promises what train_tpu/data/pipeline.py does: one endless stream of shuffled epochs, dealt out in turn to
the hosts, in which global batch k holds the same images, equally augmented, for any number of hosts and
threads; a position that is one number; unreadable images skipped and accounted for.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import grain
import numpy as np

from hvjax.spec import IMAGENET_MEAN
from train_tpu.config import Config
from train_tpu.data import geometry
from train_tpu.data.dense_examples import DenseExample, DenseSource
from train_tpu.data.dense_rows import Batch, Row, Rows, draw
from train_tpu.data.quarantine import CorruptImages
from train_tpu.data.reading import Reader, read_options
from train_tpu.data.watchdog import Watchdog
from train_tpu.errors import RunFailed

#: Changes an example whose image and masks are drawn; what it gives must fit onto the canvas.
Augment: TypeAlias = Callable[[DenseExample, np.random.Generator], DenseExample]


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
    index, count = process
    row = functools.partial(
        _training_row,
        reader=Reader(source, corrupt, watchdog or Watchdog(0)),
        rows=_rows(data, task, data.canvas, mean),
        augment=augment,
    )
    epochs = grain.MapDataset.range(len(source)).seed(seed).shuffle().repeat(None)
    dataset = epochs.random_map(row)[index::count]
    return iter(
        dataset.to_iter_dataset(read_options(data, batch_size)).batch(batch_size, drop_remainder=True)
    )


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
    and further if it does not fit onto the canvas. Every host gets the same number of equal batches: what is
    missing (the last batch, skipped images) is filled with black rows of index -1.
    """
    index, count = process
    watchdog = watchdog or Watchdog(0)
    rows = _rows(data, task, data.eval_canvas, mean)
    row = functools.partial(
        _evaluation_row, reader=Reader(source, corrupt, watchdog), rows=rows, sides=tuple(data.eval_resize)
    )
    dataset = grain.MapDataset.range(len(source)).map(row)[index::count]
    batches = iter(dataset.to_iter_dataset(read_options(data, batch_size)).batch(batch_size))
    for _ in range(-(-len(source) // (batch_size * count))):
        with watchdog.waiting():
            batch = next(batches, None)
        full = rows.empty(batch_size)
        if batch is not None:
            for name, values in batch.items():
                full[name][: len(values)] = values
        yield full


def sample(
    source: DenseSource,
    data: Config,
    task: str,
    count: int,
    corrupt: CorruptImages,
    mean: Sequence[float] = IMAGENET_MEAN,
) -> Batch:
    """Up to `count` examples, spread evenly over the source, as evaluation sees them.

    Raises:
      RunFailed: none of them can be read.
    """
    indices = np.unique(np.linspace(0, len(source) - 1, min(count, len(source))).astype(int))
    reader, rows = Reader(source, corrupt, Watchdog(0)), _rows(data, task, data.eval_canvas, mean)
    sides = tuple(data.eval_resize)
    made = [_evaluation_row(int(index), reader=reader, rows=rows, sides=sides) for index in indices]
    there = [row for row in made if row is not None]
    if not there:
        raise RunFailed("no held-out image can be read")
    return {name: np.stack([row[name] for row in there]) for name in there[0]}


def batch_shapes(
    data: Config, task: str, size: int, canvas: Sequence[int]
) -> dict[str, tuple[tuple[int, ...], type]]:
    """Name -> (shape, dtype) of each array of a batch of `size` rows, as `dense_rows.Rows.shapes`."""
    return _rows(data, task, canvas, IMAGENET_MEAN).shapes(size)


def _rows(data: Config, task: str, canvas: Sequence[int], mean: Sequence[float]) -> Rows:
    height, width = canvas
    return Rows(task, (height, width), data.max_objects, data.mask_size, tuple(mean))


def _training_row(
    index: int, rng: np.random.Generator, *, reader: Reader, rows: Rows, augment: Augment
) -> Row | None:
    example = reader.row(index, functools.partial(draw, task=rows.task))
    # outside of the reader: what goes wrong here is no fault of the file
    return None if example is None else rows.row(augment(example, rng))


def _evaluation_row(index: int, *, reader: Reader, rows: Rows, sides: tuple[int, int]) -> Row | None:
    example = reader.row(index, functools.partial(draw, task=rows.task))
    if example is None:
        return None
    height, width = np.asarray(example["image"]).shape[:2]
    return rows.row(geometry.show(example, geometry.fit(height, width, *sides, canvas=rows.canvas)))
