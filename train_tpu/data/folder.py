"""Folders of images: <class>/<image>, with folders train/ and val/ above the classes or without a split.

Without a split, each image is held out or not by a hash of its path below the directory (class/image.jpg)
alone. So the split is the same on every machine and for every seed, and new images move no old one.
"""

import dataclasses
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from train_tpu.data.sources import Dataset, Example
from train_tpu.errors import UserError

EXTENSIONS = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp")
TRAIN = "train"
#: Names of the held-out folder, the first that exists is taken.
HELD_OUT = ("val", "validation", "valid", "test")


class FolderSource:
    """Image files with their labels; an example's image is the undecoded file.

    Args:
      root: what `files` are relative to.
      labels: class index of each file.
    """

    def __init__(self, root: Path, files: Sequence[str], labels: Sequence[int]):
        self.root = root
        self.files = list(files)
        self.labels = list(labels)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Example:
        try:
            with open(self.name_of(index), "rb", buffering=0) as file:
                image = file.read()
        except OSError:
            image = b""  # gone or unreadable: decoding reports it with the corrupt ones
        return {"image": image, "label": self.labels[index], "name": self.name_of(index)}

    def name_of(self, index: int) -> str:
        """The path, without reading it."""
        return os.path.join(self.root, self.files[index])

    def __repr__(self) -> str:  # grain puts it into its summaries; the default would list every file
        return f"FolderSource({self.root}, {len(self)} images)"


@dataclasses.dataclass(frozen=True)
class _Listing:
    """Class -> its files, relative to the directory above the classes; ignored: how many are no images."""

    root: Path
    classes: dict[str, list[str]]
    ignored: int

    def source(self) -> FolderSource:
        rows = [(file, label) for label, files in enumerate(self.classes.values()) for file in files]
        return FolderSource(self.root, [file for file, _ in rows], [label for _, label in rows])


def load(directory: Path, held_out: float = 0.1) -> Dataset:
    """Scan DIR/train/<class> and DIR/val/<class> (or validation, valid, test), or DIR/<class>.

    Args:
      held_out: share of each class that is held out where the directory has no split.
    Raises:
      UserError: a split is missing, has no class folders or an empty one, the splits' classes differ, or the
        directory holds what segmentation or detection is learned from.
    """
    splits = [name for name in (TRAIN, *HELD_OUT) if (directory / name).is_dir()]
    if any(_has_folders(directory / name) for name in splits):  # a class may be called "train", too
        train, kept, notes = _read_splits(directory, splits)
    else:
        _refuse_dense(directory)
        train, kept, notes = _split(_scan(directory), held_out)
    if ignored := train.ignored + kept.ignored:
        notes.append(f"{ignored:,} file{'s' * (ignored > 1)} ignored that {_ARE[ignored > 1]}")
    source = train.source()
    return Dataset(
        name=directory.resolve().name,
        train=source,
        held_out=kept.source(),
        class_names=tuple(train.classes),
        class_counts=tuple(np.bincount(source.labels, minlength=len(train.classes)).tolist()),
        notes=tuple(notes),
    )


def is_held_out(path: str, share: float) -> bool:
    """Whether the hash of a path (class/image.jpg, with forward slashes) falls into this share."""
    return _rank(path) < share


_ARE = (f"is no image ({', '.join(EXTENSIONS)})", f"are no images ({', '.join(EXTENSIONS)})")


def _rank(path: str) -> float:
    """Uniform over [0, 1), the same everywhere."""
    return int.from_bytes(hashlib.sha256(path.encode("utf-8", "surrogateescape")).digest()[:7]) / 2**56


def _refuse_dense(directory: Path) -> None:
    """Folders of images and annotations would be taken for classes."""
    from train_tpu.data import ade20k, coco

    for reader, task, recipes in ((coco, "detection", "coco_*"), (ade20k, "segmentation", "ade20k_*")):
        if reader.is_here(directory):
            raise UserError(
                f"--config.data.dir={directory}: this is data for {task}, not folders of classes; take one "
                f"of configs/{recipes}.py, which read it as it is"
            )


def _read_splits(directory: Path, splits: list[str]) -> tuple[_Listing, _Listing, list[str]]:
    for missing, there in ((TRAIN, TRAIN in splits), ("val", len(splits) > 1 or splits[0] != TRAIN)):
        if not there:
            raise UserError(
                f"--config.data.dir={directory}: no folder {missing}/ beside {splits[0]}/; expected "
                f"train/<class>/<image> and val/<class>/<image>, or <class>/<image> without a split"
                f"{f' (to split {splits[0]}/ itself: {directory / splits[0]})' if missing == 'val' else ''}"
            )
    folders = (directory / TRAIN, directory / splits[1])
    differing = sorted(set(_classes(folders[0])) ^ set(_classes(folders[1])))
    if differing:
        raise UserError(
            f"train/ and {splits[1]}/ of {directory} have different class folders: "
            f"{', '.join(differing[:5])}{' ...' if len(differing) > 5 else ''} is in one of them only"
        )
    train, kept = map(_scan, folders)
    return train, kept, [] if splits[1] == HELD_OUT[0] else [f"held out: {directory / splits[1]}"]


def _split(everything: _Listing, share: float) -> tuple[_Listing, _Listing, list[str]]:
    if len(everything.classes) < 2:
        raise UserError(
            f"--config.data.dir={everything.root}: one class folder only ({', '.join(everything.classes)}); "
            "expected <class>/<image> with two classes or more, or train/ and val/ above them"
        )
    train: dict[str, list[str]] = {}
    kept: dict[str, list[str]] = {}
    lonely = [name for name, files in everything.classes.items() if len(files) == 1]
    for name, files in everything.classes.items():
        chosen = {file for file in files if is_held_out(file, share)}
        by_rank = sorted(files, key=_rank)
        if len(files) == 1:
            chosen = set()
        elif not chosen:
            chosen = {by_rank[0]}
        elif len(chosen) == len(files):
            chosen.remove(by_rank[-1])
        train[name] = [file for file in files if file not in chosen]
        kept[name] = [file for file in files if file in chosen]
    if len(lonely) == len(everything.classes):
        raise UserError(
            f"--config.data.dir={everything.root}: every class has one image only; nothing to hold out"
        )
    counts = [sum(map(len, part.values())) for part in (kept, train)]
    notes = [
        f"no train/ and val/: {counts[0]:,} images held out by the hash of their names, {counts[1]:,} train"
    ]
    if lonely:
        more = f" and {len(lonely) - 5} more" if len(lonely) > 5 else ""
        notes.append(
            f"classes with one image, which trains and is not held out: {', '.join(lonely[:5])}{more}"
        )
    root = everything.root
    return _Listing(root, train, everything.ignored), _Listing(root, kept, 0), notes


def _scan(root: Path) -> _Listing:
    """Every image below every class folder, in the order of their names.

    Raises:
      UserError: there are no class folders, or one holds no images.
    """
    classes, ignored = {}, 0
    try:
        for name in _classes(root):
            files, others = _images(root / name, f"{name}/")
            ignored += others
            if not files:
                raise UserError(
                    f"class folder {root / name} holds no images ({', '.join(EXTENSIONS)}); "
                    "remove it or fill it"
                )
            classes[name] = sorted(files)
    except OSError as error:
        raise UserError(f"cannot read {error.filename}: {error.strerror}") from error
    return _Listing(root, classes, ignored)


def _has_folders(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(entry.is_dir() for entry in entries)


def _classes(root: Path) -> list[str]:
    names = sorted(e.name for e in os.scandir(root) if e.is_dir() and not e.name.startswith("."))
    if not names:
        raise UserError(f"{root} has no class folders; expected <class>/<image> in it")
    return names


def _images(folder: Path, prefix: str) -> tuple[list[str], int]:
    """The images in and below a folder, named with the prefix; and how many other files there are."""
    found: list[str] = []
    ignored = 0
    for entry in os.scandir(folder):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            more, others = _images(folder / entry.name, f"{prefix}{entry.name}/")
            found += more
            ignored += others
        elif entry.name.lower().endswith(EXTENSIONS):
            found.append(f"{prefix}{entry.name}")
        else:
            ignored += 1
    return found, ignored
