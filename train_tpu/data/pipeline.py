"""The grain pipeline: order -> read -> decode the crop -> augment -> this host's share -> batches.

Training data is one endless stream of shuffled epochs, dealt out in turn to the hosts. So in every epoch
each image is used exactly once over all hosts, global batch k holds the same images however many hosts
there are, and the iterator's position is one number. An image's augmentation depends on its place in the
global stream alone, never on threads or hosts.

One image is one call in one thread, from the file to the crop: grain's own work is paid once an image, and
what need not be decoded is known in time.
"""

import functools
import types
from collections.abc import Iterator, Sequence
from typing import Any

import grain
import numpy as np

from hvjax import preprocessing
from hvjax.spec import IMAGENET_MEAN
from train_tpu.config import Config
from train_tpu.data import crops
from train_tpu.data.augment import augment, random_shift
from train_tpu.data.decode import decode_as_published, decode_crop
from train_tpu.data.quarantine import CorruptImages
from train_tpu.data.reading import Reader, read_options
from train_tpu.data.repeats import repeat_views
from train_tpu.data.resample import resize
from train_tpu.data.sources import Example, Source
from train_tpu.data.watchdog import Watchdog
from train_tpu.errors import RunFailed


def train_batches(
    source: Source,
    data: Config,
    *,
    seed: int,
    batch_size: int,
    corrupt: CorruptImages,
    process: tuple[int, int] = (0, 1),
    watchdog: Watchdog | None = None,
    mean: Sequence[float] = IMAGENET_MEAN,
) -> grain.DatasetIterator:
    """Endless iterator over {"image": uint8 (b, size, size, 3), "label": int32 (b,)}.

    Args:
      batch_size: of this host.
      process: (index, count) of the hosts.
      watchdog: is told what each thread reads.
      mean: of the model's input, 0 to 1: the colour that augmentation fills borders with.
    Returns:
      An iterator with get_state() and set_state(), the position of the next batch.
    """
    index, count = process
    data = types.SimpleNamespace(**data.to_dict())  # looked up for every image, which a ConfigDict makes dear
    reader = Reader(source, corrupt, watchdog or Watchdog(0))
    row = functools.partial(_training_row, reader=reader, data=data, mean=mean)
    epochs = grain.MapDataset.range(len(source)).seed(seed).shuffle().repeat(None)
    dataset = repeat_views(epochs, len(source), data.repeats).random_map(row)[index::count]
    return iter(
        dataset.to_iter_dataset(read_options(data, batch_size)).batch(batch_size, drop_remainder=True)
    )


def eval_batches(
    source: Source,
    data: Config,
    *,
    batch_size: int,
    corrupt: CorruptImages,
    process: tuple[int, int] = (0, 1),
    interpolation: str = "bicubic",
    watchdog: Watchdog | None = None,
) -> Iterator[dict[str, np.ndarray]]:
    """One pass over the source, its images read and cropped by `hvjax.preprocessing` alone.

    Every host gets the same number of equal batches: what is missing (the last batch, skipped images) is
    filled with black images labelled -1. `interpolation` is that of the model's registry row.
    """
    index, count = process
    watchdog = watchdog or Watchdog(0)
    reader = Reader(source, corrupt, watchdog)
    dataset = grain.MapDataset.range(len(source)).map(
        functools.partial(_evaluation_row, reader=reader, data=data, interpolation=interpolation)
    )[index::count]
    batches = iter(dataset.to_iter_dataset(read_options(data, batch_size)).batch(batch_size))
    size = data.image_size
    for _ in range(-(-len(source) // (batch_size * count))):
        with watchdog.waiting():
            batch = next(batches, None)
        full = {
            "image": np.zeros((batch_size, size, size, 3), np.uint8),
            "label": np.full(batch_size, -1, np.int32),
        }
        if batch is not None:
            for name, rows in batch.items():
                full[name][: len(rows)] = rows
        yield full


def sample(
    source: Source, data: Config, count: int, corrupt: CorruptImages, interpolation: str = "bicubic"
) -> dict[str, np.ndarray]:
    """Up to `count` examples, spread evenly over the source, as evaluation sees them."""
    indices = np.unique(np.linspace(0, len(source) - 1, min(count, len(source))).astype(int))
    reader = Reader(source, corrupt, Watchdog(0))
    made = [_evaluation_row(int(i), reader=reader, data=data, interpolation=interpolation) for i in indices]
    rows = [row for row in made if row is not None]
    if not rows:
        raise RunFailed("no held-out image can be read")
    return {name: np.stack([row[name] for row in rows]) for name in ("image", "label")}


def _training_row(
    index: int, rng: np.random.Generator, *, reader: Reader, data: Config, mean: Sequence[float]
) -> dict[str, Any] | None:
    row = reader.row(index, lambda example: _labelled(_training_crop(example, rng, data), example))
    if row is not None:
        row["image"] = np.ascontiguousarray(augment(row["image"], rng, data, mean))
    return row


def _training_crop(example: Example, rng: np.random.Generator, data: Config) -> np.ndarray:
    encoded, size = example["image"], data.image_size
    if data.shift:
        return random_shift(_fit(encoded, data), rng, data.shift)

    def choose(height: int, width: int) -> crops.Box:
        return crops.random_box(height, width, rng, data.crop_scale, data.crop_ratio)

    if isinstance(encoded, bytes):
        pixels = decode_crop(encoded, choose, size)
    else:
        pixels = crops.crop(encoded, choose(encoded.shape[0], encoded.shape[1]))
    return resize(pixels, size, crops.resampling(data.interpolation, rng), data.antialias)


def _evaluation_row(index: int, *, reader: Reader, data: Config, interpolation: str) -> dict[str, Any] | None:
    return reader.row(index, lambda example: _labelled(_fit(example["image"], data, interpolation), example))


def _labelled(image: np.ndarray, example: Example) -> dict[str, Any]:
    return {"image": image, "label": np.int32(example["label"])}


def _fit(image: bytes | np.ndarray, data: Config, interpolation: str = "bicubic") -> np.ndarray:
    """Resized and cropped, unless it was made at the size wanted (the digits)."""
    size = data.image_size
    if isinstance(image, bytes):
        image = decode_as_published(image)
    elif image.shape[:2] == (size, size):
        return image
    return preprocessing.resize_and_crop(image, size, data.eval_crop, interpolation)
