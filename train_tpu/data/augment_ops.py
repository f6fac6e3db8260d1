"""The operations of RandAugment, and what a magnitude means for each: those of timm, pixel for pixel.

Reference: timm/data/auto_augment.py (timm 1.0). The pixels are Pillow's, as there. `Increasing` operations
grow stronger with the magnitude; their plain namesakes follow the policy searched for AutoAugment, where a
greater magnitude may change less.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from PIL import Image, ImageEnhance, ImageOps

FULL = 10.0  # magnitudes count from 0 to this, where an operation does the most it is meant to do
Number = float | int


class Setting(NamedTuple):
    """Of the operations that move pixels. fill: RGB colour that comes in at the border, 0 to 255."""

    fill: tuple[int, int, int]
    resample: Image.Resampling


class Operation(NamedTuple):
    """argument: (magnitude, sign +1 or -1) -> number; change: (image, that number, setting) -> image."""

    argument: Callable[[float, int], Number]
    change: Callable[[Image.Image, Number, Setting], Image.Image]


# What a magnitude means.


def nothing(_: float, __: int) -> Number:
    """Of operations without strength."""
    return 0


def signed(most: float) -> Callable[[float, int], Number]:
    """From 0 to `most` at full magnitude, to either side."""
    return lambda magnitude, sign: sign * (magnitude / FULL * most)


def enhance(magnitude: float, _: int) -> Number:
    """A factor from 0.1 to 1.9, 1 = as it was."""
    return magnitude / FULL * 1.8 + 0.1


def enhance_increasing(magnitude: float, sign: int) -> Number:
    """A factor that goes from 1 up to 1.9 or down to 0.1."""
    return max(0.1, 1.0 + sign * (magnitude / FULL * 0.9))


def posterize_bits(magnitude: float, _: int) -> Number:
    """Bits kept, from 0 to 4."""
    return int(magnitude / FULL * 4)


def posterize_bits_increasing(magnitude: float, sign: int) -> Number:
    """Bits kept, from 4 down to 0."""
    return 4 - posterize_bits(magnitude, sign)


def solarize_from(magnitude: float, _: int) -> Number:
    """Levels from this on are inverted, 0 to 256."""
    return min(256, int(magnitude / FULL * 256))


def solarize_from_increasing(magnitude: float, sign: int) -> Number:
    """The same from 256 down to 0."""
    return 256 - solarize_from(magnitude, sign)


def solarize_add_levels(magnitude: float, _: int) -> Number:
    """Levels added to the dark half, 0 to 110."""
    return min(128, int(magnitude / FULL * 110))


# What is done to the pixels.


def solarize_add(image: Image.Image, levels: Number, _: Setting) -> Image.Image:
    """The dark half of the levels made brighter."""
    table = [min(255, level + int(levels)) if level < 128 else level for level in range(256)]
    return image.point(table * 3)


def rotate(image: Image.Image, degrees: Number, setting: Setting) -> Image.Image:
    """Counter-clockwise around the centre."""
    return image.rotate(degrees, resample=setting.resample, fillcolor=setting.fill)


def affine(image: Image.Image, matrix: tuple[float, ...], setting: Setting) -> Image.Image:
    """The pixel at (x, y) comes from (a x + b y + c, d x + e y + f), matrix = (a, b, c, d, e, f)."""
    return image.transform(
        image.size, Image.Transform.AFFINE, matrix, resample=setting.resample, fillcolor=setting.fill
    )


def by_factor(
    enhancer: Callable[[Image.Image], Any],
) -> Callable[[Image.Image, Number, Setting], Image.Image]:
    """One of Pillow's ImageEnhance."""
    return lambda image, factor, _: enhancer(image).enhance(factor)


def auto_contrast(image: Image.Image, _: Number, __: Setting) -> Image.Image:
    """Each channel stretched to the whole range."""
    return ImageOps.autocontrast(image)


def equalize(image: Image.Image, _: Number, __: Setting) -> Image.Image:
    """Each channel's histogram made flat."""
    return ImageOps.equalize(image)


def invert(image: Image.Image, _: Number, __: Setting) -> Image.Image:
    """The negative."""
    return ImageOps.invert(image)


def posterize(image: Image.Image, bits: Number, _: Setting) -> Image.Image:
    """The highest bits of each level kept; none is black (Pillow 13 refuses that, and timm fails with it)."""
    mask = ~(2 ** (8 - int(bits)) - 1)
    return image.point([level & mask for level in range(256)] * 3)


def solarize(image: Image.Image, threshold: Number, _: Setting) -> Image.Image:
    """Levels from the threshold on inverted."""
    return ImageOps.solarize(image, int(threshold))


def shear_x(image: Image.Image, factor: Number, setting: Setting) -> Image.Image:
    """By `factor` columns per row."""
    return affine(image, (1, factor, 0, 0, 1, 0), setting)


def shear_y(image: Image.Image, factor: Number, setting: Setting) -> Image.Image:
    """By `factor` rows per column."""
    return affine(image, (1, 0, 0, factor, 1, 0), setting)


def translate_x(image: Image.Image, share: Number, setting: Setting) -> Image.Image:
    """By this share of the width."""
    return affine(image, (1, 0, share * image.width, 0, 1, 0), setting)


def translate_y(image: Image.Image, share: Number, setting: Setting) -> Image.Image:
    """By this share of the height."""
    return affine(image, (1, 0, 0, 0, 1, share * image.height), setting)


color = by_factor(ImageEnhance.Color)
contrast = by_factor(ImageEnhance.Contrast)
brightness = by_factor(ImageEnhance.Brightness)
sharpness = by_factor(ImageEnhance.Sharpness)

OPERATIONS = {
    "AutoContrast": Operation(nothing, auto_contrast),
    "Equalize": Operation(nothing, equalize),
    "Invert": Operation(nothing, invert),
    "Rotate": Operation(signed(30.0), rotate),  # degrees
    "Posterize": Operation(posterize_bits, posterize),
    "PosterizeIncreasing": Operation(posterize_bits_increasing, posterize),
    "Solarize": Operation(solarize_from, solarize),
    "SolarizeIncreasing": Operation(solarize_from_increasing, solarize),
    "SolarizeAdd": Operation(solarize_add_levels, solarize_add),
    "Color": Operation(enhance, color),
    "ColorIncreasing": Operation(enhance_increasing, color),
    "Contrast": Operation(enhance, contrast),
    "ContrastIncreasing": Operation(enhance_increasing, contrast),
    "Brightness": Operation(enhance, brightness),
    "BrightnessIncreasing": Operation(enhance_increasing, brightness),
    "Sharpness": Operation(enhance, sharpness),
    "SharpnessIncreasing": Operation(enhance_increasing, sharpness),
    "ShearX": Operation(signed(0.3), shear_x),  # columns per row
    "ShearY": Operation(signed(0.3), shear_y),
    "TranslateXRel": Operation(signed(0.45), translate_x),  # share of the width
    "TranslateYRel": Operation(signed(0.45), translate_y),
}
