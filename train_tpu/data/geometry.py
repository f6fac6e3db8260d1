"""One change of place for all that an example holds: image, semantic map, boxes and masks.

A `View` is a window of the stored image, resized and perhaps mirrored. Whatever a policy does, resize, crop,
resize again and flip, comes down to one view, so that each pixel is interpolated once and everything else
follows by the same numbers. Pixel i covers [i, i + 1), and centres meet centres, as in OpenCV and PyTorch
(align_corners=False). Windows are whole pixels of the stored image.
"""

import dataclasses
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8

from train_tpu.data.crops import Box, Pixels, crop
from train_tpu.data.dense_examples import DenseExample
from train_tpu.data.masks import Mask

cv2.setNumThreads(0)  # the loader's threads are as many as there is work for
# Pixels of the view: a box that it leaves thinner goes. One, but for rounding. (mmdetection measures in the
# stored image only, as `coco_json` does before: at 800 px, which enlarges COCO's images, the two agree.)
LEAST_SIDE = 0.999

Boxes = Float32[np.ndarray, "n 4"]


class View(NamedTuple):
    """A window of an image, shown at (height, width), mirrored left-right after that if `flip`."""

    window: Box
    height: int
    width: int
    flip: bool = False

    @property
    def scale(self) -> tuple[float, float]:
        """Pixels of the view for each one of the image, along (y, x)."""
        return self.height / self.window.height, self.width / self.window.width

    def rows(self) -> Int64[np.ndarray, "height"]:
        """The row of the image in which the centre of each row of the view lies."""
        return self.window.top + _nearest(self.window.height, self.height)

    def columns(self) -> Int64[np.ndarray, "width"]:
        """The same of columns."""
        columns = self.window.left + _nearest(self.window.width, self.width)
        return columns[::-1] if self.flip else columns


def fit(
    height: int, width: int, shorter: float, longer: float, canvas: tuple[int, int] | None = None
) -> View:
    """All of the image, its ratio kept, as large as its sides may be (mmcv's rescale_size).

    Args:
      shorter, longer: pixels that the view's shorter and longer side have at most.
      canvas: (height, width) that the view must fit into besides.
    """
    factor = min(shorter / min(height, width), longer / max(height, width))
    if canvas is not None:
        factor = min(factor, canvas[0] / height, canvas[1] / width)
    shown_height, shown_width = (max(1, int(side * factor + 0.5)) for side in (height, width))
    return View(Box(0, 0, height, width), shown_height, shown_width)


def show(example: DenseExample, view: View, tight: bool = False) -> DenseExample:
    """The example as the view shows it.

    Instances of which nothing is left go. Boxes are cut off at the border, as mmdetection does it; with
    `tight` they are drawn anew around what the window has of their masks. The stated area goes too, since it
    speaks of the whole object.

    Args:
      example: its image is pixels.
    Raises:
      ValueError: a mask is damaged, or of another size than the image.
    """
    image = np.asarray(example["image"])
    height, width = image.shape[:2]
    boxes = show_boxes(example["boxes"], view)
    kept: list[int] = []
    masks: list[Viewed] = []
    for number in np.flatnonzero(wide_enough(boxes)).tolist():
        mask = Viewed.of(example["masks"][number].bitmap(height, width), view)
        if mask is None or (tight and not wide_enough(mask.box()[None])[0]):
            continue
        if tight:
            boxes[number] = mask.box()
        kept.append(number)
        masks.append(mask)
    semantic = example["semantic"]
    y_scale, x_scale = example.get("scale", (1.0, 1.0))
    shown: DenseExample = {
        "image": show_image(image, view),
        "name": example["name"],
        "semantic": None if semantic is None else show_labels(semantic, view),
        "boxes": boxes[kept],
        "labels": example["labels"][kept],
        "crowd": example["crowd"][kept],
        "masks": tuple(masks),
        "index": example["index"],
        "size": (view.height, view.width),
        "scale": (y_scale * view.scale[0], x_scale * view.scale[1]),
    }
    return shown


def show_image(image: Pixels, view: View) -> Pixels:
    """Bilinear, without a filter before it, as mmcv resizes."""
    pixels = crop(image, view.window)
    if pixels.shape[:2] != (view.height, view.width):
        pixels = cv2.resize(pixels, (view.width, view.height), interpolation=cv2.INTER_LINEAR)
    return cv2.flip(pixels, 1) if view.flip else np.ascontiguousarray(pixels)


def show_labels(labels: np.ndarray, view: View) -> np.ndarray:
    """Each pixel of the view has the label of the pixel in which its centre lies: a map or a bitmap."""
    return labels[view.rows()][:, view.columns()]


def show_boxes(boxes: Boxes, view: View) -> Boxes:
    """x1 y1 x2 y2 in the view, cut off at its border; what lies outside of the window has no area."""
    y_scale, x_scale = view.scale
    x = (np.asarray(boxes, np.float64)[:, 0::2] - view.window.left) * x_scale
    y = (np.asarray(boxes, np.float64)[:, 1::2] - view.window.top) * y_scale
    if view.flip:
        x = view.width - x[:, ::-1]
    x, y = np.clip(x, 0, view.width), np.clip(y, 0, view.height)
    return np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], axis=1).astype(np.float32)


def wide_enough(boxes: Boxes) -> Bool[np.ndarray, "n"]:
    """Whether both sides of a box have LEAST_SIDE pixels."""
    return np.all(boxes[:, 2:] - boxes[:, :2] >= LEAST_SIDE, axis=1)


@dataclasses.dataclass(frozen=True)
class Viewed:
    """A mask as a view shows it, without drawing it at the view's size.

    Args:
      pixels: a part of the mask in the stored image; outside of it there is nothing.
      top, left: where in the stored image the part begins.
    """

    pixels: Bool[np.ndarray, "rows columns"]
    view: View
    top: int = 0
    left: int = 0

    @classmethod
    def of(cls, pixels: Bool[np.ndarray, "h w"], view: View) -> "Viewed | None":
        """Of a mask in the stored image what the window has, and no more; None if that is nothing."""
        top, left, height, width = view.window
        part = pixels[top : top + height, left : left + width]
        down, across = np.flatnonzero(part.any(1)), np.flatnonzero(part.any(0))
        if not len(down):
            return None
        kept = part[down[0] : down[-1] + 1, across[0] : across[-1] + 1].copy()
        return cls(kept, view, top + int(down[0]), left + int(across[0]))

    def bitmap(self, height: int, width: int, /) -> Bool[np.ndarray, "h w"]:
        """The mask in the view.

        Raises:
          ValueError: the view has another size.
        """
        if (self.view.height, self.view.width) != (height, width):
            mine = f"{self.view.height}x{self.view.width}"
            raise ValueError(f"a mask of {mine} pixels, its image has {height}x{width}")
        return self._at(self.view.rows(), self.view.columns())

    def box(self) -> Float32[np.ndarray, "4"]:
        """x1 y1 x2 y2 in the view around the part."""
        height, width = self.pixels.shape
        around = self.left, self.top, self.left + width, self.top + height
        return show_boxes(np.array([around], np.float32), self.view)[0]

    def in_box(self, box: Float32[np.ndarray, "4"], side: int) -> UInt8[np.ndarray, "side side"]:
        """The mask at side x side points spread evenly over a box of the view, as `in_box`."""
        steps = (np.arange(side) + 0.5) / side
        x1, y1, x2, y2 = (float(value) for value in box)
        x, y = x1 + steps * (x2 - x1), y1 + steps * (y2 - y1)
        if self.view.flip:
            x = self.view.width - x
        y_scale, x_scale = self.view.scale
        top, left, height, width = self.view.window
        rows = top + np.clip(np.floor(y / y_scale).astype(np.int64), 0, height - 1)
        columns = left + np.clip(np.floor(x / x_scale).astype(np.int64), 0, width - 1)
        return self._at(rows, columns).astype(np.uint8)

    def _at(
        self, rows: Int64[np.ndarray, "height"], columns: Int64[np.ndarray, "width"]
    ) -> Bool[np.ndarray, "height width"]:
        """The mask where these rows and columns of the stored image meet."""
        found = np.zeros((len(rows), len(columns)), bool)
        rows, columns = rows - self.top, columns - self.left
        height, width = self.pixels.shape
        down = np.flatnonzero((rows >= 0) & (rows < height))
        across = np.flatnonzero((columns >= 0) & (columns < width))
        found[np.ix_(down, across)] = self.pixels[np.ix_(rows[down], columns[across])]
        return found


def in_box(
    mask: Mask, height: int, width: int, box: Float32[np.ndarray, "4"], side: int
) -> UInt8[np.ndarray, "side side"]:
    """The mask of an instance inside its box: 0 or 1 at side x side points spread evenly over it.

    Point (i, j) lies at ((i + 1/2) / side, (j + 1/2) / side) of the box's height and width.

    Args:
      height, width: of the image that the mask and the box belong to.
    Raises:
      ValueError: the mask is damaged, or of an image of another size.
    """
    if not isinstance(mask, Viewed):
        mask = Viewed(mask.bitmap(height, width), View(Box(0, 0, height, width), height, width))
    return mask.in_box(box, side)


def _nearest(source: int, target: int) -> Int64[np.ndarray, "target"]:
    """Of `source` pixels in a row, the one in which the centre of each of `target` equal parts lies."""
    return (2 * np.arange(target, dtype=np.int64) + 1) * source // (2 * target)
