"""COCO's instances, and what is written like them: annotation files and folders of images.

Layouts: annotations/instances_train*.json and instances_val*.json with the images in train*/ and val*/, or in
images/train*/ and so on, as COCO unpacks; or train/_annotations.coco.json and valid/_annotations.coco.json
beside their images, as Roboflow exports.
"""

import collections
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from train_tpu.data.coco_json import Annotations, read_annotations
from train_tpu.data.dense_examples import DETECTION, DenseDataset, DenseExample
from train_tpu.data.masks import pycocotools_mask
from train_tpu.errors import UserError

EXPECTED = "annotations/instances_train*.json and instances_val*.json with the images in train*/ and val*/"
BESIDE = "_annotations.coco.json"
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
        """An image without objects has zero boxes."""
        row, told = int(self.rows[index]), self.annotations
        here = slice(int(told.first[row]), int(told.first[row + 1]))
        try:
            with open(self.name_of(index), "rb", buffering=0) as file:
                image = file.read()
        except OSError:
            image = b""  # gone or unreadable: decoding reports it with the corrupt ones
        example: DenseExample = {
            "image": image,
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
    return any((directory / "annotations").glob("*.json")) or any(directory.glob(f"*/{BESIDE}"))


def load(directory: Path, keep_empty: bool = False) -> DenseDataset:
    """Read both splits' annotations. The classes are the categories by rising id.

    Args:
      keep_empty: also train on images in which no object is told apart, which Detectron2 leaves out;
        evaluation keeps them always.
    Raises:
      UserError: a split, its images or pycocotools are missing; an annotation file is damaged; the splits'
        categories differ; or nothing is left to train on.
    """
    pycocotools_mask()
    splits = _splits(directory)
    train, held_out = (read_annotations(split.annotations) for split in splits)
    if train.categories != held_out.categories:
        differing = sorted(set(train.categories.items()) ^ set(held_out.categories.items()))
        number, name = differing[0]
        raise UserError(
            f"{splits[0].annotations} and {splits[1].annotations} have different categories: "
            f"{number} ({name}) is in one of them only"
        )
    notes = [f"held out: {splits[1].annotations}"]
    for split, told in zip(splits, (train, held_out), strict=True):
        notes += _notes(split, told)
    rows = np.arange(len(train.names))
    if not keep_empty:
        rows = rows[_objects(train) > 0]
    if not len(rows):
        raise UserError(f"{splits[0].annotations}: no image has an object to learn from")
    if empty := len(train.names) - len(rows):
        notes.append(f"{_images(empty)} without objects left out of training")
    return DenseDataset(
        name=directory.resolve().name,
        train=CocoSource(splits[0].images, train, rows),
        held_out=CocoSource(splits[1].images, held_out),
        class_names=tuple(train.categories.values()),
        tasks=(DETECTION,),
        category_ids=tuple(train.categories),
        most_objects=int(np.diff(train.first).max()),
        class_counts=tuple(np.bincount(train.labels[~train.crowd], minlength=len(train.categories)).tolist()),
        notes=tuple(notes),
    )


def _objects(told: Annotations) -> np.ndarray:
    """How many objects that are told apart each image has."""
    image = np.repeat(np.arange(len(told.names)), np.diff(told.first))
    return np.bincount(image[~told.crowd], minlength=len(told.names))


def _splits(directory: Path) -> tuple[_Split, _Split]:
    if (directory / "annotations").is_dir():
        return _named_split(directory, ("train",)), _named_split(directory, HELD_OUT)
    beside = [directory / name / BESIDE for name in ("train", *HELD_OUT)]
    there = [file for file in beside[1:] if file.is_file()]
    if not beside[0].is_file() or not there:
        missing = " or ".join(map(str, beside[1:])) if beside[0].is_file() else beside[0]
        raise UserError(f"--config.data.dir={directory}: no {missing}")
    return _Split(beside[0], beside[0].parent), _Split(there[0], there[0].parent)


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


def _notes(split: _Split, told: Annotations) -> list[str]:
    """What was left out, and images that are not where they should be; all missing is an error."""
    folders: dict[str, set[str]] = collections.defaultdict(set)
    for name in told.names:
        folders[os.path.dirname(name)].add(name)
    missing = sorted(
        name for folder, names in folders.items() for name in names - _files(split.images, folder)
    )
    if len(missing) == len(set(told.names)):
        raise UserError(
            f"{split.images} holds none of the {_images(len(missing))} that {split.annotations} names, "
            f"such as {missing[0]}"
        )
    notes, file = [], split.annotations.name
    if missing:
        notes.append(f"{_images(len(missing))} of {file} missing in {split.images}, such as {missing[0]}")
    if told.without_mask:
        notes.append(
            f"{told.without_mask:,} of the annotations of {file} left out: no mask that can be drawn"
        )
    return notes


def _files(images: Path, folder: str) -> set[str]:
    """Names in a folder below `images`, written as the annotations write them."""
    try:
        return {os.path.join(folder, name) for name in os.listdir(images / folder)}
    except OSError:
        return set()


def _images(count: int) -> str:
    return f"{count:,} image{'s' * (count != 1)}"
