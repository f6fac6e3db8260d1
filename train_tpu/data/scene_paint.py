"""How the drawn scenes look: textured backgrounds, and the surfaces of the objects on them.

Colours are float32 from 0 to 1. Backgrounds are dull (little saturation) and objects bright, as things that
one looks for often are; the patterns on both are the same, so a pattern does not mean an object.
"""

import colorsys
import math
from collections.abc import Callable

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

Plane = Float32[np.ndarray, "h w"]
Colours = Float32[np.ndarray, "h w 3"]
Colour = Float32[np.ndarray, "3"]

RIM = 0.35  # of the radius: an object gets brighter from its edge so far in, like a cushion
RIM_SHADE = 0.55  # brightness at the very edge
GRAIN = 10  # levels of 255 by which noise, as of a camera, changes each value up or down


# Patterns: 0 to 1 at (x, y), in periods.


def plain(x: Plane, _: Plane) -> Plane:
    """Nothing."""
    return np.zeros_like(x)


def stripes(x: Plane, _: Plane) -> Plane:
    """Soft stripes across x."""
    return np.abs(2 * (x - np.floor(x)) - 1)


def checks(x: Plane, y: Plane) -> Plane:
    """A chessboard."""
    squares = np.floor(2 * x).astype(np.int32) + np.floor(2 * y).astype(np.int32)
    return (squares & 1).astype(np.float32)


def dots(x: Plane, y: Plane) -> Plane:
    """Round spots in rows."""
    across, down = x - np.floor(x) - 0.5, y - np.floor(y) - 0.5
    return (across * across + down * down < 0.08).astype(np.float32)


PATTERNS: tuple[Callable[[Plane, Plane], Plane], ...] = (plain, stripes, checks, dots)


def background(height: int, width: int, rng: np.random.Generator) -> Colours:
    """Two dull colours, mixed by clouds with a pattern that the clouds bend."""
    sky = clouds(height, width, rng)
    angle, period = rng.uniform(0, math.pi), rng.uniform(8, 40)
    columns, rows = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    x, y = turned(columns, rows, angle, 1 / period)
    pattern = PATTERNS[rng.integers(len(PATTERNS))](x + sky, y + sky)
    return mixed(dull_colour(rng), dull_colour(rng), 0.6 * sky + 0.4 * pattern)


def surface(u: Plane, v: Plane, distance: Plane, hue: float, rng: np.random.Generator) -> Colours:
    """Of an object: two bright colours of about one hue in a pattern, darker towards the edge.

    Args:
      u, v: coordinates on the object, in radii.
      distance: to its edge, in radii, negative inside.
      hue: 0 to 1, once around the circle.
    """
    strong, weak = bright_colour(hue, rng), bright_colour(hue, rng)
    periods = rng.uniform(0.6, 2.0)  # in a radius
    pattern = PATTERNS[rng.integers(len(PATTERNS))](periods * u, periods * v)
    shade = RIM_SHADE + (1 - RIM_SHADE) * np.clip(-distance / RIM, 0, 1)
    return mixed(strong, 0.65 * weak, pattern) * shade[..., None]


def turned(x: Plane, y: Plane, angle: float, scale: float) -> tuple[Plane, Plane]:
    """Coordinates on axes that are turned by `angle` and `1 / scale` times as long; x and y broadcast."""
    cosine, sine = np.float32(scale * math.cos(angle)), np.float32(scale * math.sin(angle))
    return cosine * x + sine * y, cosine * y - sine * x


def clouds(height: int, width: int, rng: np.random.Generator) -> Plane:
    """Smooth noise of four scales, the coarser the stronger; 0 to 1, around 1/2."""
    total = np.zeros((height, width), np.float32)
    for cell, weight in ((64, 0.5), (32, 0.25), (16, 0.15), (6, 0.1)):
        coarse = rng.random((height // cell + 2, width // cell + 2), dtype=np.float32)
        total += weight * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return total


def mixed(first: Colour, second: Colour, share: Plane) -> Colours:
    """The first colour, and the second in its place where its share is 1."""
    return first + share[..., None] * (second - first)


def dull_colour(rng: np.random.Generator) -> Colour:
    """Of any hue."""
    return _rgb(rng.random(), rng.uniform(0.0, 0.4), rng.uniform(0.15, 0.85))


def bright_colour(hue: float, rng: np.random.Generator) -> Colour:
    """About of this hue."""
    return _rgb(hue + rng.uniform(-0.01, 0.01), rng.uniform(0.55, 1.0), rng.uniform(0.65, 1.0))


def as_pixels(colours: Colours, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """Levels from 0 to 255, with grain."""
    grain = rng.integers(0, 2 * GRAIN, colours.shape, dtype=np.uint8)  # GRAIN - 1/2 on average
    levels = colours * np.float32(255) + grain
    levels += np.float32(1 - GRAIN)  # what is cut off below is 1/2 on average
    return np.clip(levels, 0, 255, out=levels).astype(np.uint8)


def _rgb(hue: float, saturation: float, value: float) -> Colour:
    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value), np.float32)
