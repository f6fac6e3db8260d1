"""Pillow's resizing as matrices, and as products in float32 that give its numbers bit for bit.

Pillow resizes 8-bit images in integers (src/libImaging/Resample.c): first the rows, then the columns, with
weights in steps of 2^-22, and after each pass rounds, halves up, and clips to 0..255. A sum of such products
has 30 bits, float32 keeps 24. So each matrix is cut into a coarse part (steps of 2^-11) and a fine one (the
rest). Pixels are whole numbers up to 255, so both products are exact whatever the order of summation, even
where factors are rounded to 11 significant bits (TF32; weights above 1, which a picture made larger may have,
need 12), and are rounded together without loss:

    floor(coarse) + floor((coarse - floor(coarse)) + fine + 1/2)
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

#: Binary places of Pillow's weights, and of the coarse part of them.
PLACES, COARSE_PLACES = 22, 11


def matrix(size: int, new: int, interpolation: str) -> Int[np.ndarray, "new size"]:
    """Weights, in steps of 2^-22, of every old pixel in every new one along one axis.

    Raises:
      ValueError: an interpolation that Pillow's resizing of `hvjax.preprocessing` does not know.
    """
    if interpolation == "nearest":
        return _nearest(size, new)
    if interpolation not in _FILTERS:
        raise ValueError(f"interpolation {interpolation!r}: expected one of nearest, {', '.join(_FILTERS)}")
    weigh, reach = _FILTERS[interpolation]
    scale = size / new
    wide = max(scale, 1.0)  # antialiasing: the filter covers all that becomes one pixel
    found = np.zeros((new, size), np.int64)
    for row in range(new):
        centre = (row + 0.5) * scale
        first = max(int(centre - reach * wide + 0.5), 0)
        last = min(int(centre + reach * wide + 0.5), size)
        weights = [weigh((place + first - centre + 0.5) * (1.0 / wide)) for place in range(last - first)]
        total = sum(weights)  # one after another, as Pillow sums
        for place, weight in enumerate(weights):
            steps = weight / total * (1 << PLACES)
            found[row, first + place] = int(steps - 0.5 if steps < 0 else steps + 0.5)
    return found


def cut_rows(found: Int[np.ndarray, "new size"], start: int, count: int) -> np.ndarray:
    """Rows `start` to `start + count`; those outside are zero, as Pillow's crop fills them with black."""
    wanted = np.arange(start, start + count)
    inside = (wanted >= 0) & (wanted < len(found))
    return np.where(inside[:, None], found[np.clip(wanted, 0, len(found) - 1)], 0)


def halves(found: Int[np.ndarray, "new size"]) -> Float[np.ndarray, "size twice_new"]:
    """The matrix, transposed, as its coarse part and its fine part side by side, in float32."""
    fine_places = PLACES - COARSE_PLACES
    coarse = (found + (1 << (fine_places - 1))) >> fine_places
    fine = found - (coarse << fine_places)
    parts = (coarse / (1 << COARSE_PLACES), fine / (1 << PLACES))
    return np.concatenate([part.astype(np.float32).T for part in parts], axis=1)


def _nearest(size: int, new: int) -> np.ndarray:
    """Pillow adds the step up, which is not always the same as multiplying it (Geometry.c)."""
    found = np.zeros((new, size), np.int64)
    step = size / new
    place = step * 0.5
    for row in range(new):
        found[row, min(int(place), size - 1)] = 1 << PLACES
        place += step
    return found


def _bilinear(x: float) -> float:
    return max(1.0 - abs(x), 0.0)


def _bicubic(x: float, a: float = -0.5) -> float:
    x = abs(x)
    if x < 1.0:
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * a if x < 2.0 else 0.0


def _lanczos(x: float) -> float:
    return _sinc(x) * _sinc(x / 3) if -3.0 <= x < 3.0 else 0.0


def _sinc(x: float) -> float:
    return 1.0 if x == 0.0 else math.sin(x * math.pi) / (x * math.pi)


#: Name -> (weight of a distance in pixels, distance beyond which it is 0).
_FILTERS: dict[str, tuple[Callable[[float], float], float]] = {
    "bilinear": (_bilinear, 1.0),
    "bicubic": (_bicubic, 2.0),
    "lanczos": (_lanczos, 3.0),
}
