"""What the pipeline reads from: random-access sources of examples, and which one a config means."""

import dataclasses
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


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Training and held-out examples of one task.

    class_counts: training examples of each class. embedded: needs no data directory.
    """

    name: str
    train: Source
    held_out: Source
    class_names: tuple[str, ...]
    class_counts: tuple[int, ...]
    embedded: bool = False


def open_dataset(data: Config) -> Dataset:
    """The image folder at `data.dir`, or the embedded digits when that is empty."""
    from train_tpu.data import digits, folder

    if not data.dir:
        return digits.load(data.image_size)
    directory = Path(data.dir).expanduser()
    if not directory.is_dir():
        raise UserError(f"--config.data.dir={data.dir}: no such directory")
    return folder.load(directory)
