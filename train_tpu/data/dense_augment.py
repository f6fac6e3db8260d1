"""What happens to training examples of dense tasks: the policies of mmsegmentation and mmdetection.

A policy is called with an example, whose image is pixels, and a random generator; it gives an example that
fits into its canvas, and takes all randomness from the generator. Reference: mmdet/datasets/pipelines and
mmseg/datasets/pipelines, as the configs of Swin, UniFormer and Next-ViT use them.
"""

import dataclasses

import cv2
import numpy as np

from train_tpu.data import crops, geometry
from train_tpu.data.crops import Box, Pixels
from train_tpu.data.dense_examples import IGNORE, DenseExample
from train_tpu.data.geometry import View

CROPS_TRIED = 10  # against crops that nearly one class fills
SHORTER_SIDES = tuple(range(480, 801, 32))  # of multi-scale training
CROP_AFTER = (400, 500, 600)  # the shorter sides before the crop of DETR's policy
CROP_SIDES = (384, 600)  # of that crop, least and most

# Photometric distortion (SSD, Liu et al. 2016, arXiv 1512.02325).
BRIGHTNESS = 32  # levels up or down
CONTRAST = SATURATION = (0.5, 1.5)  # factors
HUE = 18  # of OpenCV's 180 in a circle


@dataclasses.dataclass(frozen=True)
class RandomCrop:
    """Segmentation: resized by a random factor and cropped, then mirrored and its colours distorted.

    An image is first resized so that it just fits into (shorter, longer) times a factor uniform in `ratio`.
    A crop of the canvas's size, as far as the image reaches, is drawn anew, up to ten times, while one class
    has `most_of_one` or more of its labelled pixels.
    """

    canvas: tuple[int, int]
    shorter: int = 512
    longer: int = 2048
    ratio: tuple[float, float] = (0.5, 2.0)
    most_of_one: float = 0.75
    flip: bool = True
    photometric: bool = True

    def __call__(self, example: DenseExample, rng: np.random.Generator) -> DenseExample:
        height, width = np.asarray(example["image"]).shape[:2]
        factor = rng.uniform(*self.ratio)
        whole = geometry.fit(height, width, self.shorter * factor, self.longer * factor)
        view = _random_window(whole, min(self.canvas[0], whole.height), min(self.canvas[1], whole.width), rng)
        if example["semantic"] is not None and self.most_of_one < 1:
            for _ in range(CROPS_TRIED):
                if varied(crops.crop(example["semantic"], view.window), self.most_of_one):
                    break
                view = _random_window(whole, view.height, view.width, rng)
        shown = geometry.show(example, view._replace(flip=_flips(self.flip, rng)))
        if self.photometric:
            shown["image"] = photometric_distortion(np.asarray(shown["image"]), rng)
        return shown


@dataclasses.dataclass(frozen=True)
class MultiScale:
    """Detection: the whole image at a random size, its ratio kept, then mirrored; mmdetection's multi-scale.

    Args:
      shorter: sides to choose from; one alone is mmdetection's plain resize.
      longer: side at most. Canvases that an image at its size does not fit into make it smaller.
      tight: draw boxes anew around what is left of the masks, where mmdetection cuts boxes off.
      crop: DETR's policy (Carion et al. 2020, arXiv 2005.12872): half of the images are resized to a shorter
        side of `crop_after`, and a crop with sides in `crop_sides` is taken before all that.
    """

    canvas: tuple[int, int]
    shorter: tuple[int, ...] = SHORTER_SIDES
    longer: int = 1333
    flip: bool = True
    photometric: bool = False
    tight: bool = False
    crop: bool = False
    crop_after: tuple[int, ...] = CROP_AFTER
    crop_sides: tuple[int, int] = CROP_SIDES

    def __call__(self, example: DenseExample, rng: np.random.Generator) -> DenseExample:
        height, width = np.asarray(example["image"]).shape[:2]
        window = Box(0, 0, height, width)
        if self.crop and rng.random() < 0.5:
            before = geometry.fit(height, width, int(rng.choice(self.crop_after)), self.longer)
            height, width = (
                int(rng.integers(min(side, self.crop_sides[0]), min(side, self.crop_sides[1]) + 1))
                for side in (before.height, before.width)
            )
            window = _random_window(before, height, width, rng).window
        size = geometry.fit(height, width, int(rng.choice(self.shorter)), self.longer, self.canvas)
        view = View(window, size.height, size.width, _flips(self.flip, rng))
        shown = geometry.show(example, view, self.tight)
        if self.photometric:
            shown["image"] = photometric_distortion(np.asarray(shown["image"]), rng)
        return shown


def varied(labels: np.ndarray, most_of_one: float) -> bool:
    """Whether there are two classes or more, and none has `most_of_one` of the labelled pixels."""
    counts = np.bincount(labels.ravel(), minlength=IGNORE + 1)[:IGNORE]
    return bool(np.count_nonzero(counts) > 1 and counts.max() < most_of_one * counts.sum())


def photometric_distortion(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Brightness, contrast, saturation and hue, each with probability 1/2; contrast first or last."""
    if _half(rng):
        image = _scaled(image, 1.0, rng.uniform(-BRIGHTNESS, BRIGHTNESS))
    contrast_first = _half(rng)
    if contrast_first:
        image = _contrast(image, rng)
    image = _saturation_and_hue(image, rng)
    return image if contrast_first else _contrast(image, rng)


def _contrast(image: Pixels, rng: np.random.Generator) -> Pixels:
    return _scaled(image, rng.uniform(*CONTRAST), 0.0) if _half(rng) else image


def _saturation_and_hue(image: Pixels, rng: np.random.Generator) -> Pixels:
    saturation = rng.uniform(*SATURATION) if _half(rng) else 1.0
    hue = int(rng.integers(-HUE, HUE)) if _half(rng) else 0
    if saturation == 1 and hue == 0:
        return image
    levels = np.arange(256)
    tables = np.stack(
        [
            (levels + hue) % 180,
            np.clip(saturation * levels, 0, 255),
            levels,
        ],
        axis=-1,
    ).astype(np.uint8)
    planes = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_RGB2HSV), tables[None])
    return cv2.cvtColor(planes, cv2.COLOR_HSV2RGB)


def _scaled(image: Pixels, factor: float, shift: float) -> Pixels:
    """factor * image + shift, cut off at 0 and 255 and rounded down."""
    table = np.clip(factor * np.arange(256) + shift, 0, 255).astype(np.uint8)
    return cv2.LUT(image, table)


def _random_window(whole: View, height: int, width: int, rng: np.random.Generator) -> View:
    """A crop of `height` x `width` pixels of a resized image, as a view of the stored one."""
    sides = whole.window.height, whole.window.width
    rows = max(1, round(sides[0] * height / whole.height))
    columns = max(1, round(sides[1] * width / whole.width))
    top, left = int(rng.integers(sides[0] - rows + 1)), int(rng.integers(sides[1] - columns + 1))
    return View(Box(top, left, rows, columns), height, width)


def _flips(wanted: bool, rng: np.random.Generator) -> bool:
    return wanted and _half(rng)


def _half(rng: np.random.Generator) -> bool:
    return bool(rng.random() < 0.5)
