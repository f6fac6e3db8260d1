"""Pictures -> what the file takes of them, and what JAX takes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Float, UInt8

from export.ends.spec import Ends
from hvjax import preprocessing


class Rule(Protocol):
    """How a model's pictures are prepared (`export.load.Source`)."""

    @property
    def mean(self) -> Sequence[float]: ...
    @property
    def std(self) -> Sequence[float]: ...
    @property
    def crop_pct(self) -> float: ...
    @property
    def interpolation(self) -> str: ...


@dataclass(frozen=True)
class Fed:
    """`file`: in the type and layout of the file's input; `model`: (n, h, w, c) normalised, in float32."""

    file: np.ndarray
    model: Float[np.ndarray, "n h w c"]


def feed(
    pictures: UInt8[np.ndarray, "n h w c"], ends: Ends, layout: str, size: tuple[int, int], rule: Rule
) -> Fed:
    """What both take of the same pictures, which are of the size that the file takes.

    Pictures that the file resizes are resized here by Pillow: the file is held to it.
    """
    pixels = pictures
    if ends.source is not None:
        pixels = np.stack([_resized(picture, size, rule) for picture in pictures])
    model = preprocessing.normalise(pixels, rule.mean, rule.std)
    file = pictures if ends.takes_pictures else model
    return Fed(np.ascontiguousarray(file.transpose(0, 3, 1, 2)) if layout == "nchw" else file, model)


def _resized(picture: np.ndarray, size: tuple[int, int], rule: Rule) -> np.ndarray:
    """Channel by channel, as Pillow does itself: a model may have any number of them."""
    channels = [picture[..., channel] for channel in range(picture.shape[-1])]
    cut = [
        preprocessing.resize_and_crop(plane, size, rule.crop_pct, rule.interpolation)[..., 0]
        for plane in channels
    ]
    return np.stack(cut, axis=-1)
