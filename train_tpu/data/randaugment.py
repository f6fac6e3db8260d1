"""RandAugment (Cubuk et al. 2020, arXiv 1909.13719) as timm has it, and timm's notation for it."""

import dataclasses
import functools
import re

import numpy as np
from PIL import Image

from train_tpu.data.augment_ops import FULL, OPERATIONS, Setting
from train_tpu.data.crops import resampling
from train_tpu.errors import UserError

PLAIN = (
    "AutoContrast",
    "Equalize",
    "Invert",
    "Rotate",
    "Posterize",
    "Solarize",
    "SolarizeAdd",
    "Color",
    "Contrast",
    "Brightness",
    "Sharpness",
    "ShearX",
    "ShearY",
    "TranslateXRel",
    "TranslateYRel",
)
INCREASING = tuple(f"{name}Increasing" if f"{name}Increasing" in OPERATIONS else name for name in PLAIN)
# timm's "tweights"
WEIGHTS = {
    "Rotate": 3.0,
    "ShearX": 2.0,
    "ShearY": 2.0,
    "TranslateXRel": 1.0,
    "TranslateYRel": 1.0,
    "ColorIncreasing": 0.25,
    "SharpnessIncreasing": 0.25,
    "AutoContrast": 0.25,
    "SolarizeIncreasing": 0.05,
    "SolarizeAdd": 0.05,
    "ContrastIncreasing": 0.05,
    "BrightnessIncreasing": 0.05,
    "Equalize": 0.05,
    "PosterizeIncreasing": 0.05,
    "Invert": 0.05,
}
UNIFORM_ABOVE = 100.0  # a deviation greater than this means a uniform magnitude


@dataclasses.dataclass(frozen=True)
class RandAugment:
    """`layers` operations drawn with replacement, each done with `probability`, at a magnitude drawn anew.

    magnitude: mean of a normal distribution with deviation `std`, cut to [0, most]; with std over 100 uniform
    in [0, magnitude]. weighted: operations drawn by WEIGHTS, without replacement.
    """

    magnitude: int = 10
    layers: int = 2
    probability: float = 0.5
    std: float = 0.0
    most: float = FULL
    increasing: bool = False
    weighted: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Operations to draw from."""
        if self.weighted:
            return tuple(WEIGHTS)
        return INCREASING if self.increasing else PLAIN

    def draw(self, rng: np.random.Generator) -> list[tuple[str, float]]:
        """What is done to an image: names of operations and their arguments."""
        names = self.names
        if self.weighted:
            weights = np.fromiter(WEIGHTS.values(), float)
            chosen = rng.choice(len(names), self.layers, replace=False, p=weights / weights.sum())
        else:
            chosen = rng.integers(0, len(names), self.layers)
        steps = []
        for index in chosen:
            if rng.random() < self.probability:
                sign = 1 if rng.random() < 0.5 else -1
                name = names[index]
                steps.append((name, OPERATIONS[name].argument(self._magnitude(rng), sign)))
        return steps

    def __call__(
        self, image: Image.Image, rng: np.random.Generator, fill: tuple[int, int, int], interpolation: str
    ) -> Image.Image:
        """The image after a draw. fill: RGB at the border; interpolation: as data.interpolation."""
        for name, argument in self.draw(rng):
            setting = Setting(fill, resampling(interpolation, rng))
            image = OPERATIONS[name].change(image, argument, setting)
        return image

    def _magnitude(self, rng: np.random.Generator) -> float:
        magnitude = float(self.magnitude)
        if self.std > UNIFORM_ABOVE:
            magnitude = rng.uniform(0, magnitude)
        elif self.std > 0:
            magnitude = rng.normal(magnitude, self.std)
        return max(0.0, min(magnitude, self.most))


NOTATION = (
    "'rand' and, each after a dash, m (magnitude, a whole number), n (operations per image), p (probability "
    "of each), mstd (deviation of the magnitude), mmax (its greatest), inc0 or inc1 (stronger with the "
    "magnitude), tweights"
)
_FIELDS = {
    "m": "magnitude",
    "n": "layers",
    "p": "probability",
    "mstd": "std",
    "mmax": "most",
    "inc": "increasing",
    "t": "weighted",
}
_WHOLE = ("m", "n", "mmax")


@functools.cache
def parse(text: str) -> RandAugment | None:
    """ "rand-m9-mstd0.5-inc1" -> RandAugment(9, std=0.5, increasing=True); "" -> None.

    timm passes over what it does not know; here it is an error. "w0" and the "3a" sets are not known.

    Raises:
      UserError: the text is not in the notation, or a number in it is out of range.
    """
    if not text:
        return None
    first, *parts = text.split("-")
    if first != "rand":
        raise _mistake(text, f"{first!r} is no policy here")
    fields: dict[str, float] = {}
    for part in parts:
        match = re.fullmatch(r"(m|n|p|mstd|mmax|inc)(\d+(?:\.\d+)?)|(t)(weights)", part)
        if match is None:
            raise _mistake(text, f"{part!r} is not known")
        key, number = match[1] or match[3], match[2] or "1"
        name = _FIELDS[key]
        if name in fields:
            raise _mistake(text, f"{part!r} comes twice")
        if key in _WHOLE and "." in number:
            raise _mistake(text, f"{part!r} is not a whole number")
        if key == "inc" and number not in ("0", "1"):
            raise _mistake(text, f"{part!r} is neither inc0 nor inc1")
        fields[name] = float(number)
    policy = RandAugment(
        magnitude=int(fields.get("magnitude", FULL)),
        layers=int(fields.get("layers", 2)),
        probability=fields.get("probability", 0.5),
        std=fields.get("std", 0.0),
        most=fields.get("most") or FULL,
        increasing=bool(fields.get("increasing")),
        weighted="weighted" in fields,
    )
    if policy.probability > 1:
        raise _mistake(text, f"a probability of {policy.probability:g} is more than 1")
    if policy.weighted and policy.layers > len(WEIGHTS):
        raise _mistake(text, f"with tweights n is at most {len(WEIGHTS)}")
    return policy


def _mistake(text: str, what: str) -> UserError:
    return UserError(f"--config.data.randaugment={text!r}: {what}; accepted: {NOTATION}")
