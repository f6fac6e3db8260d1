"""Random boxes of an image, as torchvision's RandomResizedCrop (Szegedy et al. 2015, arXiv 1409.4842) draws.

The box is cut out first and resized then (train_tpu/data/resample.py), so that the pixels around it have no
part in it, as they would with the `box` argument of Pillow's own resize.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

Pixels = UInt8[np.ndarray, "h w 3"]
ATTEMPTS = 10
RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


class Box(NamedTuple):
    """In pixels of the whole image."""

    top: int
    left: int
    height: int
    width: int


def random_box(
    height: int, width: int, rng: np.random.Generator, scale: tuple[float, float], ratio: tuple[float, float]
) -> Box:
    """A box that takes a share of the area uniform in `scale`, at an aspect (w / h) log-uniform in `ratio`.

    After ten boxes that do not fit: the largest central one whose ratio is allowed.
    """
    low, high = math.log(ratio[0]), math.log(ratio[1])
    for _ in range(ATTEMPTS):
        area = height * width * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(low, high))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            top, left = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
            return Box(int(top), int(left), h, w)
    return central_box(height, width, ratio)


def central_box(height: int, width: int, ratio: tuple[float, float]) -> Box:
    """The largest central box whose aspect (w / h) lies in `ratio`."""
    h, w = height, width
    if width / height < ratio[0]:
        h = round(width / ratio[0])
    elif width / height > ratio[1]:
        w = round(height * ratio[1])
    return Box((height - h) // 2, (width - w) // 2, h, w)


def crop(image: Pixels, box: Box) -> Pixels:
    """A view of the pixels in the box."""
    return image[box.top : box.top + box.height, box.left : box.left + box.width]


def resampling(interpolation: str, rng: np.random.Generator) -> Image.Resampling:
    """Pillow's name for "bicubic" or "bilinear"; for "random" one of the two."""
    if interpolation == "random":
        interpolation = ("bilinear", "bicubic")[rng.integers(2)]
    return RESAMPLING[interpolation]
