"""COCO's instances, and what is written like them: annotation files and folders of images.

Layouts: annotations/instances_train*.json and instances_val*.json with the images in train*/ and val*/, or in
images/train*/ and so on, as COCO unpacks; or train/_annotations.coco.json and valid/_annotations.coco.json
beside their images, as Roboflow exports.
"""

import collections
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from train_tpu.data.coco_json import Annotations, read_annotations
from train_tpu.data.dense_examples import DETECTION, DenseDataset, DenseExample, NoExamples
from train_tpu.data.masks import pycocotools_mask
from train_tpu.data.reading import file_bytes
from train_tpu.errors import UserError

KIND, TASKS = "COCO", (DETECTION,)
EXPECTED = "annotations/instances_train*.json and instances_val*.json with the images in train*/ and val*/"
BESIDE = "_annotations.coco.json"
TRAIN = ("train",)
#: Names of the held-out split, the first that exists is taken.
HELD_OUT = ("val", "valid", "test")


class CocoSource:
    """Images with their instances; an example's image is the undecoded file.

    Args:
      folder: what the annotations' file names are relative to.
      rows: which images of the annotations, in the order of the source; all by default.
    """

    def __init__(self, folder: Path, annotations: Annotations, rows: "np.ndarray | None" = None):
        self.folder = folder
        self.annotations = annotations
        self.rows = np.arange(len(annotations.names)) if rows is None else rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> DenseExample:
        """An image without objects has zero boxes. Raises ValueError if the file cannot be read."""
        row, told = int(self.rows[index]), self.annotations
        here = slice(int(told.first[row]), int(told.first[row + 1]))
        example: DenseExample = {
            "image": file_bytes(self.name_of(index)),
            "name": self.name_of(index),
            "semantic": None,
            "boxes": told.boxes[here],
            "labels": told.labels[here],
            "crowd": told.crowd[here],
            "masks": tuple(told.shapes.mask(int(place)) for place in told.place[here]),
            "index": int(index),
            "size": self.size_of(index),
        }
        if told.area is not None:
            example["area"] = told.area[here]
        return example

    def name_of(self, index: int) -> str:
        """The path, without reading it."""
        return os.path.join(self.folder, self.annotations.names[self.rows[index]])

    def size_of(self, index: int) -> tuple[int, int]:
        """(height, width) as the annotations say, without reading the image."""
        height, width = self.annotations.sizes[self.rows[index]].tolist()
        return height, width

    def image_id(self, index: int) -> Any:
        """What the annotation file calls the image; predictions are handed in under it."""
        return self.annotations.ids[self.rows[index]]

    def __repr__(self) -> str:  # grain puts it into its summaries
        return f"CocoSource({self.folder}, {len(self)} images)"


class _Split(NamedTuple):
    annotations: Path
    images: Path


def is_here(directory: Path) -> bool:
    """Whether there are annotation files in one of the layouts."""
    return any((directory / "annotations").glob("instances_*.json")) or any(directory.glob(f"*/{BESIDE}"))


def load(
    directory: Path, keep_empty: bool = False, held_out_only: bool = False, most_missing: float = 1.0
) -> DenseDataset:
    """Read the splits' annotations. The classes are the categories by rising id.

    Args:
      keep_empty: also train on images in which no object is told apart, which Detectron2 leaves out;
        evaluation keeps them always.
      held_out_only: nothing is asked of the training split; `train` is empty.
      most_missing: share of the images that may be missing (data.max_corrupt).
    Raises:
      UserError: a split, too many of its images or pycocotools are missing; an annotation file is damaged;
        the splits' categories differ; or nothing is left to train on or to score against.
    """
    pycocotools_mask()
    learned = None if held_out_only else _split(directory, TRAIN)
    split = _split(directory, HELD_OUT)
    told = read_annotations(split.annotations)
    if not _objects(told).any():
        raise UserError(f"{split.annotations}: no image has an object to score against")
    source = CocoSource(split.images, told)
    dataset = DenseDataset(
        name=directory.resolve().name,
        train=NoExamples(),
        held_out=source,
        class_names=tuple(told.categories.values()),
        tasks=TASKS,
        category_ids=tuple(told.categories),
        notes=(f"held out: {split.annotations}", *_left_out(split, told)),
    )
    opened = [(split, source)]
    if learned is not None:
        train = read_annotations(learned.annotations, to_learn=True)
        _check_categories(learned, train, split, told)
        source_to_learn = CocoSource(learned.images, train, _rows_to_learn(learned, train, keep_empty))
        dataset = _with_training(dataset, learned, source_to_learn)
        opened.insert(0, (learned, source_to_learn))
    return dataclasses.replace(dataset, notes=(*dataset.notes, *_missing_images(opened, most_missing)))


def _rows_to_learn(split: _Split, told: Annotations, keep_empty: bool) -> np.ndarray:
    rows = np.arange(len(told.names))
    if not keep_empty:
        rows = rows[_objects(told) > 0]
    if not len(rows):
        raise UserError(f"{split.annotations}: no image has an object to learn from")
    return rows


def _with_training(dataset: DenseDataset, split: _Split, source: CocoSource) -> DenseDataset:
    told = source.annotations
    notes = _left_out(split, told)
    if empty := len(told.names) - len(source):
        notes.append(f"{_images(empty)} without objects left out of training")
    return dataclasses.replace(
        dataset,
        train=source,
        most_objects=int(np.diff(told.first).max()),
        class_counts=tuple(np.bincount(told.labels[~told.crowd], minlength=len(told.categories)).tolist()),
        notes=(*dataset.notes, *notes),
    )


def _check_categories(learned: _Split, train: Annotations, split: _Split, told: Annotations) -> None:
    if train.categories == told.categories:
        return
    number, name = min(set(train.categories.items()) ^ set(told.categories.items()))
    raise UserError(
        f"{learned.annotations} and {split.annotations} have different categories: "
        f"{number} ({name}) is in one of them only"
    )


def _objects(told: Annotations) -> np.ndarray:
    """How many objects that are told apart each image has."""
    image = np.repeat(np.arange(len(told.names)), np.diff(told.first))
    return np.bincount(image[~told.crowd], minlength=len(told.names))


def _split(directory: Path, names: tuple[str, ...]) -> _Split:
    """The first of these splits that is there."""
    if (directory / "annotations").is_dir():
        return _named_split(directory, names)
    files = [directory / name / BESIDE for name in names]
    for file in files:
        if file.is_file():
            return _Split(file, file.parent)
    raise UserError(f"--config.data.dir={directory}: no {' or '.join(map(str, files))}")


def _named_split(directory: Path, names: tuple[str, ...]) -> _Split:
    """The one annotation file of a split, and the folder named as it is."""
    for name in names:
        files = sorted((directory / "annotations").glob(f"instances_{name}*.json"))
        if len(files) > 1:
            raise UserError(
                f"--config.data.dir={directory}: annotations/ has {', '.join(file.name for file in files)}; "
                "leave one of them there"
            )
        if files:
            split = files[0].stem.removeprefix("instances_")
            folders = [directory / split, directory / "images" / split]
            for folder in folders:
                if folder.is_dir():
                    return _Split(files[0], folder)
            raise UserError(
                f"--config.data.dir={directory}: no folder {' or '.join(map(str, folders))} with the images "
                f"of {files[0].name}"
            )
    missing = " or ".join(f"annotations/instances_{name}*.json" for name in names)
    raise UserError(f"--config.data.dir={directory}: no {missing}; expected {EXPECTED}")


def _left_out(split: _Split, told: Annotations) -> list[str]:
    """Notes of annotations that were."""
    reasons = {
        "no mask that can be drawn": told.without_mask,
        "marked to be ignored, of no area, thinner than a pixel or outside": told.not_learned,
    }
    return [
        f"{count:,} of the annotations of {split.annotations.name} left out: {reason}"
        for reason, count in reasons.items()
        if count
    ]


def _missing_images(opened: Sequence[tuple[_Split, CocoSource]], most: float) -> list[str]:
    """Notes of images that are not where they should be; too many are an error."""
    notes, count = [], 0
    for split, source in opened:
        missing = _missing(source)
        if len(missing) == len(source):
            raise UserError(
                f"{split.images} holds none of the {_images(len(missing))} that {split.annotations} names, "
                f"such as {missing[0]}"
            )
        if missing:
            file = split.annotations.name
            notes.append(f"{_images(len(missing))} of {file} missing in {split.images}, such as {missing[0]}")
        count += len(missing)
    total = sum(len(source) for _, source in opened)
    if count > most * total:
        raise UserError(
            f"{'; '.join(notes)}: more than --config.data.max_corrupt={most:g} allows of {_images(total)}"
        )
    return notes


def _missing(source: CocoSource) -> list[str]:
    folders: dict[str, set[str]] = collections.defaultdict(set)
    for row in source.rows:
        name = source.annotations.names[row]
        folders[os.path.dirname(name)].add(name)
    return sorted(name for folder, names in folders.items() for name in names - _files(source.folder, folder))


def _files(images: Path, folder: str) -> set[str]:
    """Names in a folder below `images`, written as the annotations write them."""
    try:
        return {os.path.join(folder, name) for name in os.listdir(images / folder)}
    except OSError:
        return set()


def _images(count: int) -> str:
    return f"{count:,} image{'s' * (count != 1)}"
