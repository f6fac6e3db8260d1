"""An ImageNet-style folder: DIR/train/<class>/<image> and DIR/val/<class>/<image>."""

import os
from pathlib import Path

import numpy as np

from train_tpu.data.sources import Dataset, Example
from train_tpu.errors import UserError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


class FolderSource:
    """Files of one split, in the order of their names; an example's image is the undecoded file."""

    def __init__(self, root: Path, class_names: tuple[str, ...]):
        self._root = root
        self._files: list[str] = []
        self.labels: list[int] = []
        for label, name in enumerate(class_names):
            files = _images(root / name)
            if not files:
                raise UserError(
                    f"class folder {root / name} holds no images ({', '.join(EXTENSIONS)}); "
                    "remove it or fill it"
                )
            self._files += [f"{name}/{file}" for file in files]
            self.labels += [label] * len(files)

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Example:
        path = self._root / self._files[index]
        try:
            image = path.read_bytes()
        except OSError:
            image = b""  # gone or unreadable: decoding reports it with the corrupt ones
        return {"image": image, "label": self.labels[index], "name": str(path)}

    def __repr__(self) -> str:  # grain puts it into its summaries; the default would list every file
        return f"FolderSource({self._root}, {len(self)} images)"


def load(directory: Path) -> Dataset:
    """Scan DIR/train and DIR/val.

    Raises:
      UserError: a split is missing, has no class folders or an empty one, or the splits' classes differ.
    """
    for split in ("train", "val"):
        if not (directory / split).is_dir():
            raise UserError(
                f"--config.data.dir={directory}: no folder {split}/ in it; "
                "expected train/<class>/<image> and val/<class>/<image>"
            )
    classes = _classes(directory / "train")
    if not classes:
        raise UserError(f"{directory / 'train'} has no class folders; expected train/<class>/<image>")
    differing = sorted(set(classes) ^ set(_classes(directory / "val")))
    if differing:
        raise UserError(
            f"train/ and val/ of {directory} have different class folders: "
            f"{', '.join(differing[:5])}{' ...' if len(differing) > 5 else ''} is in one of them only"
        )
    train = FolderSource(directory / "train", classes)
    return Dataset(
        name=directory.name,
        train=train,
        held_out=FolderSource(directory / "val", classes),
        class_names=classes,
        class_counts=tuple(np.bincount(train.labels, minlength=len(classes)).tolist()),
    )


def _classes(split: Path) -> tuple[str, ...]:
    return tuple(sorted(e.name for e in os.scandir(split) if e.is_dir() and not e.name.startswith(".")))


def _images(folder: Path) -> list[str]:
    return sorted(
        entry.name
        for entry in os.scandir(folder)
        if entry.name.lower().endswith(EXTENSIONS) and not entry.name.startswith(".")
    )
