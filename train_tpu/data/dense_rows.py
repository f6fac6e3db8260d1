"""An example of a dense task as a row of a batch: decoded and drawn, then padded to a static shape.

The image lies at the top left of its canvas; the rest has the mean colour, which is nearly zero normalised.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Bool, Int64, UInt8

from hvjax.spec import IMAGENET_MEAN
from train_tpu.data import geometry, masks
from train_tpu.data.decode import decode, decode_stored
from train_tpu.data.dense_examples import DETECTION, IGNORE, SEGMENTATION, DenseExample

Batch: TypeAlias = dict[str, np.ndarray]
Row: TypeAlias = dict[str, Any]
LEVELS = 255  # of a channel whose mean is given as a share of 1


@dataclasses.dataclass(frozen=True)
class Rows:
    """How examples become rows.

    Args:
      task: "segmentation" or "detection".
      canvas: (height, width) of the batch's images.
      max_objects: instances of a row, detection. Of more, those with the largest boxes are kept, crowds last.
      mask_size: pixels of an instance's mask along either side of its box.
      mean: of the model's input, 0 to 1, the colour of padding.
    """

    task: str
    canvas: tuple[int, int]
    max_objects: int = 0
    mask_size: int = 0
    mean: Sequence[float] = IMAGENET_MEAN

    def shapes(self, size: int) -> dict[str, tuple[tuple[int, ...], type]]:
        """Name -> (shape, dtype) of each array of a batch of `size` rows.

        segmentation: image, labels (class of each pixel, 255 = none), index (of the example; -1 = padding).
        detection: image; size, its real (height, width) on the canvas; scale, canvas pixels for each pixel of
        the file along (y, x); boxes x1 y1 x2 y2 on the canvas; labels, -1 = no box; crowd; masks, each
        instance's 0 or 1 inside its box; index.
        """
        image = {"image": ((size, *self.canvas, 3), np.uint8)}
        index = {"index": ((size,), np.int32)}
        if self.task == SEGMENTATION:
            return {**image, "labels": ((size, *self.canvas), np.uint8), **index}
        return {
            **image,
            "size": ((size, 2), np.int32),
            "scale": ((size, 2), np.float32),
            "boxes": ((size, self.max_objects, 4), np.float32),
            "labels": ((size, self.max_objects), np.int32),
            "crowd": ((size, self.max_objects), np.bool_),
            "masks": ((size, self.max_objects, self.mask_size, self.mask_size), np.uint8),
            **index,
        }

    def empty(self, size: int) -> Batch:
        """A batch of padding: black, without a label or a box, of index -1."""
        batch = {name: np.zeros(shape, dtype) for name, (shape, dtype) in self.shapes(size).items()}
        batch["labels"][:] = IGNORE if self.task == SEGMENTATION else -1
        batch["index"][:] = -1
        if self.task == DETECTION:
            batch["size"][:] = self.canvas
            batch["scale"][:] = 1
        return batch

    def row(self, example: DenseExample) -> Row:
        """The example on its canvas.

        Args:
          example: drawn, and no larger than the canvas.
        Raises:
          RuntimeError: it is larger.
        """
        pixels = np.asarray(example["image"])
        height, width = pixels.shape[:2]
        if height > self.canvas[0] or width > self.canvas[1]:
            raise RuntimeError(
                f"{example['name']}: {height}x{width} pixels do not fit onto the canvas of "
                f"{self.canvas[0]}x{self.canvas[1]}"
            )
        row: Row = {name: array[0] for name, array in self.empty(1).items()}
        row["image"] = self._on_canvas(pixels)
        row["index"] = np.int32(example["index"])
        if self.task == SEGMENTATION:
            assert example["semantic"] is not None
            row["labels"][:height, :width] = example["semantic"]
        else:
            row["size"][:] = height, width
            row["scale"][:] = example.get("scale", (1.0, 1.0))
            self._put_instances(row, example, height, width)
        return row

    def _on_canvas(self, pixels: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "H W 3"]:
        height, width = pixels.shape[:2]
        colour = np.round(np.asarray(self.mean) * LEVELS).astype(np.uint8)
        strip = np.tile(colour, (self.canvas[1], 1))  # whole rows are copied faster than single colours
        canvas = np.empty((*self.canvas, 3), np.uint8)
        canvas[:height, :width] = pixels
        canvas[height:] = strip
        canvas[:height, width:] = strip[width:]
        return canvas

    def _put_instances(self, row: Row, example: DenseExample, height: int, width: int) -> None:
        for place, number in enumerate(self._kept(example)):
            box = example["boxes"][number]
            row["boxes"][place] = box
            row["labels"][place] = example["labels"][number]
            row["crowd"][place] = example["crowd"][number]
            mask = example["masks"][number]
            row["masks"][place] = geometry.in_box(mask, height, width, box, self.mask_size)

    def _kept(self, example: DenseExample) -> Int64[np.ndarray, "kept"]:
        """Which instances there is room for, in their order."""
        boxes, crowd = example["boxes"], example["crowd"]
        if len(boxes) <= self.max_objects:
            return np.arange(len(boxes))
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        return np.sort(np.lexsort((-area, crowd))[: self.max_objects])


def draw(example: DenseExample, task: str) -> DenseExample:
    """The example with its image as pixels; what the task does not need is left out.

    Masks are checked but not drawn: as bitmaps of the whole image, those of a large one take gigabytes.

    COCO's annotations were made on images as they lie in their files, so that is how a file is read; upright
    by EXIF if only so its size is that of its annotations.

    Raises:
      ValueError: the image or a mask is damaged, or of another size than the annotations.
    """
    drawn = example.copy()
    semantic = example["semantic"]
    size = example.get("size", None if semantic is None else semantic.shape)
    drawn["image"] = pixels = _pixels(example["image"], size)
    if task == SEGMENTATION:
        nothing: Bool[np.ndarray, "0"] = np.zeros(0, bool)
        drawn["boxes"], drawn["labels"] = np.zeros((0, 4), np.float32), np.zeros(0, np.int32)
        drawn["crowd"], drawn["masks"] = nothing, ()
        drawn.pop("area", None)
    else:
        drawn["semantic"] = None
        height, width = pixels.shape[:2]
        for mask in example["masks"]:
            masks.check(mask, height, width)
    return drawn


def _pixels(image: "bytes | np.ndarray", size: "Sequence[int] | None") -> UInt8[np.ndarray, "h w 3"]:
    """Of the annotations' size, if that is known."""
    if not isinstance(image, bytes):
        return _of_size(image, size)
    pixels = decode_stored(image)
    if size is not None and pixels.shape[:2] != tuple(size):
        return _of_size(decode(image), size)
    return pixels


def _of_size(pixels: np.ndarray, size: "Sequence[int] | None") -> np.ndarray:
    if size is not None and pixels.shape[:2] != tuple(size):
        raise ValueError(
            f"the image has {pixels.shape[0]}x{pixels.shape[1]} pixels, its annotations {size[0]}x{size[1]}"
        )
    return pixels
