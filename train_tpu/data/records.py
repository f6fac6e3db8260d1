"""ArrayRecord shards: the source that reads them, and folders that `train_tpu.prepare` wrote.

A record is a tf.train.Example with `image` (an encoded file), `label` and `file_name`, as TFDS writes image
classification. A prepared folder has an index, index.json: {"format", "class_names", "splits": {"train":
[{"file", "count", "bytes", "sha256", "class_counts"}, ...], "val": ...}, ...}.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from array_record.python import array_record_data_source

from train_tpu.data import example_proto
from train_tpu.data.sources import Dataset, Example
from train_tpu.errors import UserError

INDEX, PLAN = "index.json", "plan.json"
FORMAT = 1
SPLITS = ("train", "val")


class Keys(NamedTuple):
    """What the features of a record are called; `name` may be missing in it."""

    image: str = "image"
    label: str = "label"
    name: str = "file_name"


KEYS = Keys()


class RecordSource:
    """Examples out of ArrayRecord files, by random access; an example's image is the encoded file.

    Args:
      files: paths of the shards.
      counts: records in each, so that they need not be opened to be counted.
      classes: how many there are; a label beyond them would be learned as none of them.
    """

    def __init__(self, files: Sequence[Path], counts: Sequence[int], classes: int, keys: Keys = KEYS):
        self._title = f"RecordSource({files[0].parent}, {sum(counts)} images in {len(files)} shards)"
        self._where = [f"{file}" for file in files]
        self._ends = np.cumsum(counts)
        self._classes = classes
        self._keys = keys
        slices = [f"{file}[0:{count}]" for file, count in zip(files, counts, strict=True)]
        self._records = array_record_data_source.ArrayRecordDataSource(slices)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> Example:
        """Raises: ValueError: the record is damaged, or of a class that there is not."""
        try:
            record = self._records[index]
        except Exception as error:  # of the C++ reader, by many names
            raise ValueError(
                f"damaged record: {str(error).splitlines()[0] if str(error) else error!r}"
            ) from error
        features = example_proto.parse(record)
        image, label = features.get(self._keys.image), features.get(self._keys.label)
        if not image or not label or not isinstance(image[0], bytes) or not isinstance(label[0], int):
            raise ValueError(f"record without {self._keys.image} (bytes) and {self._keys.label} (integer)")
        if not 0 <= label[0] < self._classes:
            raise ValueError(f"record with the label {label[0]}, where 0 to {self._classes - 1} are classes")
        name = features.get(self._keys.name) or [b""]
        known = name[0].decode(errors="replace") if isinstance(name[0], bytes) else ""
        return {"image": image[0], "label": label[0], "name": known or self.name_of(index)}

    def name_of(self, index: int) -> str:
        """Shard and place in it."""
        shard = int(np.searchsorted(self._ends, index, side="right"))
        start = int(self._ends[shard - 1]) if shard else 0
        return f"{self._where[shard]}[{index - start}]"

    def __repr__(self) -> str:
        return self._title


def is_prepared(directory: Path) -> bool:
    """Whether `train_tpu.prepare` wrote this folder, or began to."""
    return (directory / INDEX).is_file() or (directory / PLAN).is_file()


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
      UserError: it is missing or damaged.
    """
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}") from error


def read_index(directory: Path) -> dict[str, Any]:
    """The index of a prepared folder.

    Raises:
      UserError: the preparation did not end, or the index is damaged or of a later format.
    """
    if not (directory / INDEX).is_file():
        raise UserError(
            f"--config.data.dir={directory}: its preparation was interrupted; run the same "
            "`python -m train_tpu.prepare` again, it goes on where it stopped"
        )
    index = read_json(directory / INDEX)
    if not isinstance(index, dict) or not {"format", "class_names", "splits"} <= set(index):
        raise UserError(f"{directory / INDEX} is no index of prepared records")
    if index["format"] != FORMAT:
        raise UserError(
            f"{directory / INDEX} has format {index['format']}; this version of train_tpu reads {FORMAT}"
        )
    return index


def load(directory: Path) -> Dataset:
    """The dataset that `train_tpu.prepare` wrote.

    Raises:
      UserError: as of `read_index`; a shard is missing or has another size.
    """
    index = read_index(directory)
    try:
        splits = {split: [s for s in index["splits"][split] if s["count"]] for split in SPLITS}
        for shard in (shard for shards in splits.values() for shard in shards):
            file = directory / shard["file"]
            size = file.stat().st_size if file.is_file() else None
            if size != shard["bytes"]:
                found = (
                    "is missing" if size is None else f"has {size:,} bytes, {shard['bytes']:,} were written"
                )
                raise UserError(f"{file} {found}; prepare the images again")
        sources = {
            split: RecordSource(
                [directory / s["file"] for s in shards],
                [s["count"] for s in shards],
                len(index["class_names"]),
            )
            for split, shards in splits.items()
        }
        counts = np.sum([shard["class_counts"] for shard in splits["train"]], axis=0)
    except (KeyError, TypeError, IndexError) as error:
        raise UserError(f"{directory / INDEX} is damaged: no {error}") from error
    return Dataset(
        name=directory.resolve().name,
        train=sources["train"],
        held_out=sources["val"],
        class_names=tuple(index["class_names"]),
        class_counts=tuple(int(count) for count in counts),
    )
