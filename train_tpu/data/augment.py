"""Pixels to pixels: random crops, flips and shifts for training.

All take and give uint8 (h, w, 3); all randomness comes from the generator passed in. Resizing is
Pillow's bicubic with antialiasing, as in the published recipes (OpenCV's bicubic, half again as fast,
skips the antialiasing). The crop of evaluation is `hvjax.preprocessing.resize_and_crop`.
"""

import math

import numpy as np
from jaxtyping import UInt8
from PIL import Image

Pixels = UInt8[np.ndarray, "h w 3"]
CROP_ATTEMPTS = 10


def random_resized_crop(
    image: Pixels,
    rng: np.random.Generator,
    size: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> Pixels:
    """A random box resized to size x size (Szegedy et al. 2015, arXiv 1409.4842, section 6).

    The box takes a share of the area uniform in `scale`, at an aspect ratio (w / h) log-uniform in
    `ratio`; after ten boxes that do not fit, the largest central box whose ratio is allowed.
    """
    height, width = image.shape[:2]
    low, high = math.log(ratio[0]), math.log(ratio[1])
    for _ in range(CROP_ATTEMPTS):
        area = height * width * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(low, high))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            top, left = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
            return _resize(image, (size, size), (left, top, left + w, top + h))
    aspect = min(max(width / height, ratio[0]), ratio[1])
    w, h = min(width, round(height * aspect)), min(height, round(width / aspect))
    left, top = (width - w) // 2, (height - h) // 2
    return _resize(image, (size, size), (left, top, left + w, top + h))


def random_flip(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Left-right, with probability 1/2."""
    return image[:, ::-1] if rng.random() < 0.5 else image


def random_shift(image: Pixels, rng: np.random.Generator, most: int) -> Pixels:
    """Moved by up to `most` pixels up, down, left and right, uniformly; black comes in."""
    height, width = image.shape[:2]
    dy, dx = rng.integers(-most, most + 1, size=2)
    padded = np.pad(image, ((most, most), (most, most), (0, 0)))
    return padded[most + dy : most + dy + height, most + dx : most + dx + width]


def _resize(image: Pixels, size: tuple[int, int], box: tuple[int, int, int, int]) -> Pixels:
    """The box (left, top, right, bottom) at size (width, height)."""
    resized = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC, box=box)
    return np.asarray(resized)
