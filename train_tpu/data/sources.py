"""What the pipeline reads from: random-access sources of examples, and which one a config means."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias, TypedDict

import grain
import numpy as np

from train_tpu.config import Config
from train_tpu.errors import UserError


class Example(TypedDict):
    """image: an encoded file (bytes) or uint8 pixels (h, w, 3); label: class index; name: for messages."""

    image: bytes | np.ndarray
    label: int
    name: str


# len() and [i], where reading the same index twice gives the same example.
Source: TypeAlias = grain.sources.RandomAccessDataSource[Example]


def name_of(source: Source, index: int) -> str:
    """What messages call example `index`, before it is read: its file, where the source knows it."""
    name = getattr(source, "name_of", None)
    return name(index) if name else f"example {index} of {source!r}"


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Training and held-out examples of one task.

    class_counts: training examples of each class; () where only reading all of them would tell.
    embedded: needs no data directory. notes: what the user should know of how it was read, one line each.
    references: computes what others score on the same held-out examples, a share of 1 by name.
    """

    name: str
    train: Source
    held_out: Source
    class_names: tuple[str, ...]
    class_counts: tuple[int, ...]
    embedded: bool = False
    notes: tuple[str, ...] = ()
    references: Callable[[], dict[str, float]] = dict


def open_dataset(data: Config) -> Dataset:
    """What lies at `data.dir`: prepared records, a TFDS folder or images; the digits when it is empty.

    Raises:
      UserError: nothing, or something else, or it is not complete.
    """
    from train_tpu.data import digits, folder, records, tfds

    if not data.dir:
        return digits.load(data.image_size)
    directory = Path(data.dir).expanduser()
    if not directory.is_dir():
        raise UserError(f"--config.data.dir={data.dir}: no such directory")
    if records.is_prepared(directory):
        return records.load(directory)
    if tfds.is_tfds(directory):
        return tfds.load(directory)
    return folder.load(directory, data.held_out)
