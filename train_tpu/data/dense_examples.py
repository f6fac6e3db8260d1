"""Examples of dense tasks, segmentation and detection: what a source gives.

Coordinates are those of COCO and mmdetection: x to the right and y down, in pixels of the image as it is
stored, the image's left edge at 0 and its right edge at its width. Pixel i covers [i, i + 1).
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NotRequired, TypeAlias, TypedDict

import grain
import numpy as np
from jaxtyping import Bool, Float32, Int32, UInt8

from train_tpu.config import Config
from train_tpu.data.masks import Mask
from train_tpu.errors import UserError

SEGMENTATION, DETECTION = "segmentation", "detection"
TASKS = (SEGMENTATION, DETECTION)
IGNORE = 255  # in a semantic map: no class; neither learned nor scored


class DenseExample(TypedDict):
    """One image with what is known of it.

    Attributes:
      image: an encoded file (bytes) or uint8 pixels (h, w, 3).
      name: for messages.
      semantic: class of each pixel, IGNORE where there is none; None where the data set has no such map.
      boxes: x1 y1 x2 y2 of each of the n instances. labels: their classes, from 0.
      crowd: whether an instance is a group that is not told apart; neither learned nor scored as an object.
      masks: where each instance is.
      index: of the example in its source.
      size: (height, width) of the image that the annotations were made on, where they say so.
      area: pixels of each instance as the data set states them, by which COCO sorts objects into sizes;
        missing: those of the mask.
      scale: of y and x: pixels of `image` for each pixel of the file; missing: 1. What resizes multiplies it.
    """

    image: "bytes | UInt8[np.ndarray, 'h w 3']"
    name: str
    semantic: "UInt8[np.ndarray, 'h w'] | None"
    boxes: Float32[np.ndarray, "n 4"]
    labels: Int32[np.ndarray, "n"]
    crowd: Bool[np.ndarray, "n"]
    masks: tuple[Mask, ...]
    index: int
    size: NotRequired[tuple[int, int]]
    area: NotRequired[Float32[np.ndarray, "n"]]
    scale: NotRequired[tuple[float, float]]


# len() and [i], where reading the same index twice gives the same example. A source may also have
# name_of(i) and size_of(i) -> (height, width) of the image, both without reading it.
DenseSource: TypeAlias = grain.sources.RandomAccessDataSource[DenseExample]


class NoExamples:
    """The training split where only the held-out one is asked for."""

    def __len__(self) -> int:
        return 0

    def __getitem__(self, index: int) -> DenseExample:
        raise IndexError(index)


@dataclasses.dataclass(frozen=True)
class DenseDataset:
    """Training and held-out examples of a task.

    Attributes:
      tasks: those of TASKS that the examples can teach.
      category_ids: what the data set itself calls each class (COCO's ids have gaps); () = the class's index.
      most_objects: instances in the training image that has most; 0 = not known without reading all.
      class_counts: training instances of each class (detection); () = not known without reading all.
      embedded: needs no data directory. notes: what the user should know of how it was read, a line each.
      references: as of `sources.Dataset`; none.
    """

    name: str
    train: DenseSource
    held_out: DenseSource
    class_names: tuple[str, ...]
    tasks: tuple[str, ...]
    category_ids: tuple[int, ...] = ()
    most_objects: int = 0
    class_counts: tuple[int, ...] = ()
    embedded: bool = False
    notes: tuple[str, ...] = ()
    references: Callable[[], dict[str, float]] = dict


def no_instances() -> dict[str, Any]:
    """The part of an example that tells of instances, where there are none."""
    return {
        "boxes": np.zeros((0, 4), np.float32),
        "labels": np.zeros(0, np.int32),
        "crowd": np.zeros(0, bool),
        "masks": (),
    }


def open_dense_dataset(data: Config, task: str, held_out_only: bool = False) -> DenseDataset:
    """What lies at `data.dir`: COCO, or pairs of folders as of ADE20K; the drawn scenes when it is empty.

    Args:
      task: one of TASKS.
      held_out_only: for evaluation, which needs no training split: none is looked for, `train` is empty.
    Raises:
      UserError: nothing, or something else, or it is not complete, or it cannot teach the task.
    """
    from train_tpu.data import ade20k, coco, scenes

    if not data.dir:
        return _with_room(scenes.load(data, task), task, data.max_objects)
    directory = Path(data.dir).expanduser()
    if not directory.is_dir():
        raise UserError(f"--config.data.dir={data.dir}: no such directory")
    if task == DETECTION and coco.is_here(directory):
        dataset = coco.load(directory, held_out_only=held_out_only, most_missing=data.max_corrupt)
        return _with_room(dataset, task, data.max_objects)
    if task == SEGMENTATION and ade20k.is_here(directory):
        return ade20k.load(directory, held_out_only)
    for reader in (coco, ade20k):
        if reader.is_here(directory):
            teaches = " and ".join(reader.TASKS)
            raise UserError(f"--config.data.dir={data.dir}: {reader.KIND} teaches {teaches}, not {task}")
    raise UserError(
        f"--config.data.dir={data.dir}: expected {coco.EXPECTED} (detection), or "
        f"{ade20k.EXPECTED} (segmentation)"
    )


def _with_room(dataset: DenseDataset, task: str, room: int) -> DenseDataset:
    """With a note if a training image has more objects than a row of a batch has room for."""
    if task != DETECTION or dataset.most_objects <= room:
        return dataset
    note = (
        f"an image has up to {dataset.most_objects} objects; of more than {room} (data.max_objects) the "
        "largest are learned from"
    )
    return dataclasses.replace(dataset, notes=(*dataset.notes, note))
