"""Brightness, contrast and saturation changed at random: torchvision's ColorJitter without hue."""

import numpy as np
from PIL import Image, ImageEnhance

ENHANCERS = {
    "brightness": ImageEnhance.Brightness,
    "contrast": ImageEnhance.Contrast,
    "saturation": ImageEnhance.Color,
}


def draw(rng: np.random.Generator, amount: float) -> list[tuple[str, float]]:
    """What is done, in order: each of the three, its factor uniform in [max(0, 1 - amount), 1 + amount]."""
    names = rng.permutation(list(ENHANCERS))
    return [(str(name), rng.uniform(max(0.0, 1 - amount), 1 + amount)) for name in names]


def change(image: Image.Image, name: str, factor: float) -> Image.Image:
    """One of the three; factor 1 changes nothing, 0 gives black, mid-gray or gray levels."""
    return ENHANCERS[name](image).enhance(factor)


def color_jitter(image: Image.Image, rng: np.random.Generator, amount: float) -> Image.Image:
    """The image after a draw."""
    for name, factor in draw(rng, amount):
        image = change(image, name, factor)
    return image
