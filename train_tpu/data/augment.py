"""What happens to a training image after its crop: flips, shifts, colours, RandAugment.

All take and give uint8 (h, w, 3); all randomness comes from the generator passed in. The crop is
train_tpu/data/crops.py; erasing and mixing come later, on the device. Evaluation's crop is
`hvjax.preprocessing.resize_and_crop`. See docs/augmentation.md.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

from hvjax.spec import IMAGENET_MEAN
from train_tpu.config import Config
from train_tpu.data import randaugment
from train_tpu.data.color_jitter import color_jitter
from train_tpu.data.crops import Pixels


def augment(
    image: Pixels, rng: np.random.Generator, data: Config, mean: Sequence[float] = IMAGENET_MEAN
) -> Pixels:
    """A flip, then RandAugment or, without it, colour jitter: in timm's order, each if `data` asks for it.

    Args:
      image: the crop, at the model's size.
      data: the config's section.
      mean: of the model's input, 0 to 1: what RandAugment fills borders with.
    """
    if data.flip:
        image = random_flip(image, rng)
    policy = randaugment.parse(data.randaugment)
    if policy is not None:
        fill = fill_colour(mean)
        return np.asarray(policy(Image.fromarray(image), rng, fill, data.interpolation))
    if data.color_jitter:
        return np.asarray(color_jitter(Image.fromarray(image), rng, data.color_jitter))
    return image


def random_flip(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Left-right, with probability 1/2."""
    return cv2.flip(image, 1) if rng.random() < 0.5 else image  # in order in memory, unlike [:, ::-1]


def random_shift(image: Pixels, rng: np.random.Generator, most: int) -> Pixels:
    """Moved by up to `most` pixels up, down, left and right, uniformly; black comes in."""
    height, width = image.shape[:2]
    dy, dx = rng.integers(-most, most + 1, size=2)
    padded = np.pad(image, ((most, most), (most, most), (0, 0)))
    return padded[most + dy : most + dy + height, most + dx : most + dx + width]


def fill_colour(mean: Sequence[float]) -> tuple[int, int, int]:
    """The mean as a colour, 0 to 255."""
    red, green, blue = (min(255, round(255 * value)) for value in mean)
    return red, green, blue
