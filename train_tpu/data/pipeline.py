"""The grain pipeline: source -> shuffle -> decode -> augment -> this host's share -> batches.

Training data is one endless stream of shuffled epochs, dealt out in turn to the hosts. So in every epoch
each image is used exactly once over all hosts, global batch k holds the same images however many hosts
there are, and the iterator's position is one number. An image's augmentation depends on its place in the
global stream alone, never on threads or hosts.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import grain
import numpy as np

from hvjax import preprocessing
from train_tpu.config import Config
from train_tpu.data import augment
from train_tpu.data.decode import CorruptImages, decode
from train_tpu.data.sources import Example, Source

PREFETCH_BATCHES = 4


def train_batches(
    source: Source,
    data: Config,
    *,
    seed: int,
    batch_size: int,
    corrupt: CorruptImages,
    process: tuple[int, int] = (0, 1),
) -> grain.DatasetIterator:
    """Endless iterator over {"image": uint8 (b, size, size, 3), "label": int32 (b,)}.

    Args:
      batch_size: of this host.
      process: (index, count) of the hosts.
    Returns:
      An iterator with get_state() and set_state(), which grain's checkpoint handler saves and restores.
    """
    index, count = process
    dataset = (
        grain.MapDataset.source(source)
        .seed(seed)
        .shuffle()
        .repeat(None)
        .map(functools.partial(_decode, corrupt=corrupt))
        .random_map(functools.partial(_augment, data=data))[index::count]
    )
    return iter(
        dataset.to_iter_dataset(_read_options(data, batch_size)).batch(batch_size, drop_remainder=True)
    )


def eval_batches(
    source: Source,
    data: Config,
    *,
    batch_size: int,
    corrupt: CorruptImages,
    process: tuple[int, int] = (0, 1),
    interpolation: str = "bicubic",
) -> Iterator[dict[str, np.ndarray]]:
    """One pass over the source, its images read and cropped by `hvjax.preprocessing` alone.

    Every host gets the same number of equal batches: what is missing (the last batch, skipped images) is
    filled with black images labelled -1. `interpolation` is that of the model's registry row.
    """
    index, count = process
    dataset = (
        grain.MapDataset.source(source)
        .map(functools.partial(_decode, corrupt=corrupt, read=_read_exactly))
        .map(functools.partial(_centre, data=data, interpolation=interpolation))[index::count]
    )
    batches = iter(dataset.to_iter_dataset(_read_options(data, batch_size)).batch(batch_size))
    size = data.image_size
    for _ in range(-(-len(source) // (batch_size * count))):
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
    decoded = [_decode(source[int(i)], corrupt=corrupt, read=_read_exactly) for i in indices]
    rows = [_centre(example, data, interpolation) for example in decoded if example is not None]
    return {name: np.stack([row[name] for row in rows]) for name in ("image", "label")}


def _read_exactly(data: bytes) -> np.ndarray:
    """As the published evaluations read: Pillow's decoder, which `decode` differs from by a level or two."""
    return np.asarray(preprocessing.read_image(data))


def _decode(example: Example, *, corrupt: CorruptImages, read: Callable[[bytes], np.ndarray] = decode) -> Any:
    """The example with pixels for its image; None, which grain skips, if it cannot be read."""
    if not isinstance(example["image"], bytes):
        return {**example, "fits": True}
    try:
        return {**example, "image": read(example["image"]), "fits": False}
    except ValueError as error:
        corrupt.report(example["name"], str(error).splitlines()[0] if str(error) else "unreadable")
        return None


def _augment(example: Any, rng: np.random.Generator, *, data: Config) -> dict[str, Any]:
    image = example["image"]
    if data.shift:
        image = augment.random_shift(_fit(example, data), rng, data.shift)
    else:
        image = augment.random_resized_crop(image, rng, data.image_size, data.crop_scale, data.crop_ratio)
    if data.flip:
        image = augment.random_flip(image, rng)
    return _row(image, example)


def _centre(example: Any, data: Config, interpolation: str) -> dict[str, Any]:
    return _row(_fit(example, data, interpolation), example)


def _fit(example: Any, data: Config, interpolation: str = "bicubic") -> np.ndarray:
    """Resized and cropped, unless it was made at the size wanted (the digits)."""
    image, size = example["image"], data.image_size
    if example["fits"] and image.shape[:2] == (size, size):
        return image
    return preprocessing.resize_and_crop(image, size, data.eval_crop, interpolation)


def _row(image: np.ndarray, example: Example) -> dict[str, Any]:
    return {"image": np.ascontiguousarray(image), "label": np.int32(example["label"])}


def _read_options(data: Config, batch_size: int) -> grain.ReadOptions:
    if not data.threads:  # no prefetch buffer either: grain allows one only with threads
        return grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    return grain.ReadOptions(num_threads=data.threads, prefetch_buffer_size=PREFETCH_BATCHES * batch_size)
