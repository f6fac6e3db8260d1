"""ADE20K's scene parsing benchmark, and what is laid out like it: pairs of an image and a map of classes.

ADE20K: ADEChallengeData2016 as it unpacks (http://sceneparsing.csail.mit.edu), with images/training/*.jpg,
annotations/training/*.png, the same of validation, and objectInfo150.txt. Its 0, none of the 150 classes, is
ignored; 1 to 150 become 0 to 149 ("reduce_zero_label" in mmsegmentation).

Own data: the same folders (or train and val) with classes.txt, one name a line; a pixel is the line's number
from 0, and 255 is ignored.
"""

import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from train_tpu.data.dense_examples import IGNORE, SEGMENTATION, DenseDataset, DenseExample, NoExamples
from train_tpu.data.folder import EXTENSIONS
from train_tpu.data.reading import file_bytes
from train_tpu.errors import UserError

KIND, TASKS = "images/ and annotations/ as of ADE20K", (SEGMENTATION,)
OBJECT_INFO, CLASSES = "objectInfo150.txt", "classes.txt"
EXPECTED = f"images/ and annotations/ with training/ and validation/ in each, and {OBJECT_INFO} or {CLASSES}"
TRAIN = ("training", "train")
#: Names of the held-out folder, the first that exists is taken.
HELD_OUT = ("validation", "val", "valid", "test")
MOST_CLASSES = 254  # 255 is no class, and 254 marks what is none of them
_UNKNOWN = 254
BIT_DEPTH = 24  # the byte of a PNG that tells it


class PairSource:
    """Images with their maps; an example's image is the undecoded file, its map is decoded.

    Args:
      images, maps: the folders. names: of the images, of which each map has the stem.
      classes: how many there are.
      zero_is_class: whether a 0 in the map is the first class, or none and 1 is the first.
    """

    def __init__(self, images: Path, maps: Path, names: Sequence[str], classes: int, zero_is_class: bool):
        self.images = images
        self.maps = maps
        self.names = list(names)
        self.classes = classes
        self._class_of = np.full(256, _UNKNOWN, np.uint8)
        first = 0 if zero_is_class else 1
        self._class_of[first : first + classes] = np.arange(classes)
        self._class_of[IGNORE] = IGNORE
        if not zero_is_class:
            self._class_of[0] = IGNORE

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> DenseExample:
        """Raises ValueError if a file cannot be read, or the map is damaged or holds what is no class."""
        return {
            "image": file_bytes(self.name_of(index)),
            "name": self.name_of(index),
            "semantic": self._map(index),
            "index": int(index),
            "boxes": np.zeros((0, 4), np.float32),
            "labels": np.zeros(0, np.int32),
            "crowd": np.zeros(0, bool),
            "masks": (),
        }

    def name_of(self, index: int) -> str:
        """The image's path, without reading it."""
        return os.path.join(self.images, self.names[index])

    def _map(self, index: int) -> UInt8[np.ndarray, "h w"]:
        path = os.path.join(self.maps, map_name(self.names[index]))
        pixels = read_map(path)
        classes = self._class_of[pixels]
        if (classes == _UNKNOWN).any():
            value = int(pixels[classes == _UNKNOWN][0])
            raise ValueError(f"{path} has pixels of {value}, and there are {self.classes} classes")
        return classes

    def __repr__(self) -> str:  # grain puts it into its summaries
        return f"PairSource({self.images}, {len(self)} images)"


def is_here(directory: Path) -> bool:
    """Whether there are folders of images and, with one for a split, of annotations."""
    maps = directory / "annotations"
    return (directory / "images").is_dir() and any((maps / name).is_dir() for name in (*TRAIN, *HELD_OUT))


def load(directory: Path, held_out_only: bool = False) -> DenseDataset:
    """List the splits; no image is read.

    Args:
      held_out_only: nothing is asked of the training split; `train` is empty.
    Raises:
      UserError: a folder, a map or the classes' names are missing, or a map is that of two images.
    """
    names, of_ade = _class_names(directory)
    notes = ["0 in the maps is no class and is ignored"] if of_ade else []
    sources = []
    for splits in (HELD_OUT,) if held_out_only else (TRAIN, HELD_OUT):
        split = _split(directory, splits)
        images, spare = _pairs(directory, split)
        if spare:
            notes.append(f"{spare:,} of the files in images/{split} ignored: no images")
        folders = directory / "images" / split, directory / "annotations" / split
        sources.append(PairSource(*folders, images, len(names), zero_is_class=not of_ade))
    notes.append(f"held out: {sources[-1].images}")
    return DenseDataset(
        name=directory.resolve().name,
        train=NoExamples() if held_out_only else sources[0],
        held_out=sources[-1],
        class_names=names,
        tasks=TASKS,
        notes=tuple(notes),
    )


def read_map(path: "str | os.PathLike[str]") -> UInt8[np.ndarray, "h w"]:
    """The numbers in a gray image of 8 bits or fewer, or a palette image (the indices).

    Raises:
      ValueError: there is none, or it is damaged, or of another kind.
    """
    try:
        data = file_bytes(os.fspath(path))
        with Image.open(io.BytesIO(data)) as image:
            if image.mode not in ("L", "P", "1"):
                raise ValueError(f"its pixels are {image.mode}; expected 8-bit gray or palette")
            pixels = np.array(image, np.uint8)
            few_bits = image.format == "PNG" and image.mode == "L" and data[BIT_DEPTH] < 8
            # Pillow spreads gray of 2 and 4 bits over 0 to 255
            return pixels // (255 // (2 ** data[BIT_DEPTH] - 1)) if few_bits else pixels
    except OSError as error:  # Pillow's own errors
        said = "not an image" if isinstance(error, UnidentifiedImageError) else error.strerror or str(error)
        raise ValueError(f"the map {path}: {said}") from error
    except Exception as error:  # decoders fail on damaged files in many ways
        raise ValueError(f"the map {path}: {error}") from error


def map_name(image: str) -> str:
    """The name of an image's map."""
    return f"{os.path.splitext(image)[0]}.png"


def _class_names(directory: Path) -> tuple[tuple[str, ...], bool]:
    """The names, and whether they are written as ADE20K writes them."""
    for name, of_ade in ((OBJECT_INFO, True), (CLASSES, False)):
        file = directory / name
        if not file.is_file():
            continue
        try:
            lines = file.read_text(encoding="utf-8-sig").rstrip().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"cannot read {file}: {error}") from error
        names = _short([line for line in lines if line.strip()][1:]) if of_ade else _lines(lines, file)
        if not 1 <= len(names) <= MOST_CLASSES:
            raise UserError(f"{file} names {len(names)} classes; accepted are 1 to {MOST_CLASSES}")
        return names, of_ade
    raise UserError(
        f"--config.data.dir={directory}: neither {OBJECT_INFO} (ADE20K) nor {CLASSES} (one name a line)"
    )


def _lines(lines: list[str], file: Path) -> tuple[str, ...]:
    names = tuple(line.strip() for line in lines)
    if "" in names:
        raise UserError(
            f"{file}: line {names.index('') + 1} is empty; the numbers in the maps are those of the lines, "
            "from 0"
        )
    return names


def _short(lines: list[str]) -> tuple[str, ...]:
    """The last column, of "door, double door" the first name; all of them where two classes share one."""
    full = [line.split("\t")[-1].strip() for line in lines]
    first = [name.split(",")[0].strip() for name in full]
    return tuple(name if first.count(short) > 1 else short for name, short in zip(full, first, strict=True))


def _split(directory: Path, names: tuple[str, ...]) -> str:
    for name in names:
        if (directory / "images" / name).is_dir():
            if (directory / "annotations" / name).is_dir():
                return name
            raise UserError(
                f"--config.data.dir={directory}: no folder annotations/{name} beside images/{name}"
            )
    raise UserError(
        f"--config.data.dir={directory}: no folder images/{' or images/'.join(names)}; expected {EXPECTED}"
    )


def _pairs(directory: Path, split: str) -> tuple[list[str], int]:
    """The images of a split by name, and how many other files there are."""
    folder, maps = directory / "images" / split, directory / "annotations" / split
    try:
        files = [name for name in os.listdir(folder) if not name.startswith(".")]
        there = set(os.listdir(maps))
    except OSError as error:
        raise UserError(f"cannot read {error.filename}: {error.strerror}") from error
    images = sorted(name for name in files if name.lower().endswith(EXTENSIONS))
    if not images:
        raise UserError(f"{folder} holds no images ({', '.join(EXTENSIONS)})")
    missing = [name for name in images if map_name(name) not in there]
    if missing:
        raise UserError(
            f"{maps} has no map for {len(missing):,} of the {len(images):,} images in {folder}, the first is "
            f"{map_name(missing[0])}"
        )
    _check_shared(folder, images)
    return images, len(files) - len(images)


def _check_shared(folder: Path, images: list[str]) -> None:
    first: dict[str, str] = {}
    for name in images:
        other = first.setdefault(map_name(name), name)
        if other != name:
            raise UserError(f"{folder}: {other} and {name} would share one map, {map_name(name)}")
