"""COCO's annotation file as columns of numbers.

Format: https://cocodataset.org/#format-data, "object detection". COCO's own training file has 860,000
annotations; as Python objects they would take gigabytes for as long as the run lasts.
"""

import array
import collections
import dataclasses
import json
from pathlib import Path
from reprlib import repr as short
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64

from train_tpu.data import coco_values as values
from train_tpu.data.masks import Mask, Polygons, RunLengths
from train_tpu.errors import UserError


@dataclasses.dataclass(frozen=True)
class Shapes:
    """The masks of annotations, in the order of the file.

    Attributes:
      numbers: x and y of all polygons of all annotations, one after the other; float64, since filling
        rounds to fifths of a pixel, and many of COCO's coordinates (12.3) lie just between two.
      part_ends: polygon p is numbers[part_ends[p] : part_ends[p + 1]].
      ends: annotation a has the polygons ends[a] to ends[a + 1].
      runs: those annotations that are run lengths instead.
    """

    numbers: Float64[np.ndarray, "numbers"]
    part_ends: Int64[np.ndarray, "parts+1"]
    ends: Int64[np.ndarray, "annotations+1"]
    runs: dict[int, RunLengths]

    def mask(self, annotation: int) -> Mask:
        """Of one annotation."""
        if annotation in self.runs:
            return self.runs[annotation]
        parts = range(self.ends[annotation], self.ends[annotation + 1])
        return Polygons([self.numbers[self.part_ends[p] : self.part_ends[p + 1]] for p in parts])


@dataclasses.dataclass(frozen=True)
class Annotations:
    """What an annotation file says, its n annotations sorted by their images.

    Attributes:
      categories: id -> name, by rising id: the order of the classes.
      names: file of each image. ids: what the file calls it. sizes: height and width.
      first: image i has the annotations first[i] to first[i + 1].
      area: as the file states it; None if it does not for every annotation.
      place: of each annotation in `shapes`.
      without_mask: how many annotations were left out since they have no mask that can be drawn.
      not_learned: how many more since mmdetection does not train on them.
    """

    categories: dict[int, str]
    names: list[str]
    ids: list[Any]
    sizes: Int32[np.ndarray, "images 2"]
    first: Int64[np.ndarray, "images+1"]
    boxes: Float32[np.ndarray, "n 4"]
    labels: Int32[np.ndarray, "n"]
    crowd: Bool[np.ndarray, "n"]
    area: "Float32[np.ndarray, 'n'] | None"
    place: Int64[np.ndarray, "n"]
    shapes: Shapes
    without_mask: int
    not_learned: int = 0


def read_annotations(file: Path, to_learn: bool = False) -> Annotations:
    """Read one annotation file.

    Args:
      to_learn: leave out what mmdetection does not train on: annotations marked `ignore`, of no area, with a
        box thinner than a pixel or outside of its image. All are scored against, as pycocotools does.
    Raises:
      UserError: it is no JSON, or not as COCO writes it, or contradicts itself, or has no masks at all.
    """
    content = _load(file)
    categories = _categories(content["categories"], file)
    names, ids, sizes = _images(content["images"], file)
    builder = _Builder(file, categories, names, ids, sizes, to_learn)
    for number, annotation in enumerate(content["annotations"]):
        try:
            builder.add(annotation)
        except UserError:
            raise
        except (KeyError, TypeError, AttributeError, OverflowError, ValueError) as error:
            raise _odd(file, "annotations", number, error) from error
    return builder.finish()


def _load(file: Path) -> dict[str, list]:
    try:
        content = json.loads(file.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is no valid JSON: {error}") from error
    needed = ("images", "annotations", "categories")
    missing = [k for k in needed if not isinstance(content, dict) or not isinstance(content.get(k), list)]
    if missing:
        raise UserError(f"{file} is not as COCO writes it: no list {' and no list '.join(missing)}")
    return content


def _categories(rows: list, file: Path) -> dict[int, str]:
    found: dict[int, str] = {}
    for number, row in enumerate(rows):
        try:
            key, name = row["id"], row["name"]
            if not isinstance(key, int) or not isinstance(name, str):
                raise TypeError("id must be an integer and name a text")
        except (KeyError, TypeError) as error:
            raise _odd(file, "categories", number, error) from error
        if key in found:
            raise UserError(f"{file}: two categories have the id {key}: {found[key]} and {name}")
        found[key] = name
    if not found:
        raise UserError(f"{file}: no categories")
    return dict(sorted(found.items()))


def _images(rows: list, file: Path) -> tuple[list[str], list[Any], Int32[np.ndarray, "images 2"]]:
    names, ids, sizes = [], [], np.zeros((len(rows), 2), np.int32)
    for number, row in enumerate(rows):
        try:
            height, width = row["height"], row["width"]
            values.check_name(row["file_name"])
            if not (isinstance(height, int) and isinstance(width, int) and min(height, width) > 0):
                raise TypeError(f"height {short(height)} and width {short(width)} must be positive integers")
            sizes[number] = height, width
        except (KeyError, TypeError, OverflowError, ValueError) as error:
            raise _odd(file, "images", number, error) from error
        names.append(row["file_name"])
        ids.append(row.get("id"))
    if not names:
        raise UserError(f"{file}: no images")
    if len(set(names)) < len(names):
        twice = next(name for name, count in collections.Counter(names).items() if count > 1)
        raise UserError(f"{file}: two images have the file_name {short(twice)}")
    return names, ids, sizes


class _Builder:
    """Columns that grow annotation by annotation."""

    def __init__(
        self,
        file: Path,
        categories: dict[int, str],
        names: list[str],
        ids: list,
        sizes: np.ndarray,
        to_learn: bool,
    ):
        self._file, self._to_learn = file, to_learn
        self._categories, self._names, self._ids, self._sizes = categories, names, ids, sizes
        self._label_of = {key: label for label, key in enumerate(categories)}
        try:
            self._row_of = {key: row for row, key in enumerate(ids)}
        except TypeError as error:
            raise UserError(f"{file}: an image has no plain id: {error}") from error
        if len(self._row_of) < len(ids):
            twice = next(key for row, key in enumerate(ids) if self._row_of[key] != row)
            raise UserError(f"{file}: two images have the id {short(twice)}")
        self._image, self._label, self._crowd = array.array("q"), array.array("i"), array.array("b")
        self._boxes, self._areas = array.array("f"), array.array("f")
        self._numbers = array.array("d")
        self._part_ends, self._ends = array.array("q", [0]), array.array("q", [0])
        self._runs: dict[int, RunLengths] = {}
        self._without_area = self._without_mask = self._not_learned = 0

    def add(self, row: dict[str, Any]) -> None:
        """One annotation as the file has it."""
        called = f"{self._file}: annotation {short(row.get('id'))}"
        image, label = self._row_of.get(row["image_id"]), self._label_of.get(row["category_id"])
        if image is None:
            raise UserError(f"{called} is of image {short(row['image_id'])}, which is not in the file")
        if label is None:
            raise UserError(f"{called} is of category {short(row['category_id'])}, which is not in the file")
        box, crowd, area = (
            values.read_box(row["bbox"], called),
            values.read_flag(row, "iscrowd"),
            values.read_area(row.get("area")),
        )
        ignored = values.read_flag(row, "ignore")
        if self._to_learn and (ignored or not values.learnable(box, area, *self._sizes[image].tolist())):
            self._not_learned += 1
            return
        if not self._add_mask(row.get("segmentation"), image, called):
            self._without_mask += 1
            return
        self._image.append(image)
        self._label.append(label)
        self._crowd.append(crowd)
        x, y, w, h = box
        self._boxes.extend((x, y, x + w, y + h))
        self._without_area += area is None
        self._areas.append(0.0 if area is None else area)

    def _add_mask(self, shape: Any, image: int, called: str) -> bool:
        """Whether there is one that can be drawn; then it is kept."""
        if isinstance(shape, dict):
            runs = self._run_lengths(shape, image, called)
            if not len(runs.counts):
                return False
            self._runs[len(self._image)] = runs
        else:
            parts = values.read_polygons(shape)
            if not parts:
                return False
            for part in parts:
                self._numbers.frombytes(part.tobytes())
                self._part_ends.append(len(self._numbers))
        self._ends.append(len(self._part_ends) - 1)
        return True

    def _run_lengths(self, shape: dict[str, Any], image: int, called: str) -> RunLengths:
        height, width = self._sizes[image].tolist()
        if list(shape["size"]) != [height, width]:
            raise UserError(
                f"{called}: its mask is of {short(shape['size'])} pixels (height, width), "
                f"its image {self._names[image]} of [{height}, {width}]"
            )
        counts = shape["counts"]
        if not isinstance(counts, str):
            counts = values.read_counts(counts)
            if len(counts) and counts.sum(dtype=np.int64) != height * width:
                raise UserError(
                    f"{called}: the counts of its mask are of {counts.sum(dtype=np.int64)} pixels, "
                    f"its image {self._names[image]} has {height}x{width}"
                )
        return RunLengths((height, width), counts)

    def finish(self) -> Annotations:
        """The columns, sorted."""
        if self._without_mask and not self._image and not self._not_learned:
            raise UserError(
                f"{self._file}: none of its {self._without_mask} annotations has a segmentation (polygons or "
                "RLE), which masks are learned from"
            )
        image = np.frombuffer(self._image, np.int64)
        place = np.argsort(image, kind="stable")
        counts = np.bincount(image, minlength=len(self._names))
        return Annotations(
            categories=self._categories,
            names=self._names,
            ids=self._ids,
            sizes=self._sizes,
            first=np.concatenate([[0], np.cumsum(counts)]),
            boxes=np.frombuffer(self._boxes, np.float32).reshape(-1, 4)[place],
            labels=np.frombuffer(self._label, np.int32)[place],
            crowd=np.frombuffer(self._crowd, np.int8)[place].astype(bool),
            area=None if self._without_area else np.frombuffer(self._areas, np.float32)[place],
            place=place,
            shapes=Shapes(
                numbers=np.frombuffer(self._numbers, np.float64),
                part_ends=np.frombuffer(self._part_ends, np.int64),
                ends=np.frombuffer(self._ends, np.int64),
                runs=self._runs,
            ),
            without_mask=self._without_mask,
            not_learned=self._not_learned,
        )


def _odd(file: Path, table: str, number: int, error: Exception) -> UserError:
    said = f"no {error.args[0]}" if isinstance(error, KeyError) else str(error)
    return UserError(f"{file} is not as COCO writes it: {table}[{number}]: {said}")
