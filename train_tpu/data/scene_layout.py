"""Where things are in a drawn scene: how large, at which places, what covers what.

Objects are put on the background one after the other, mostly the larger ones first, each at a random place
that leaves enough of those below visible.
"""

import dataclasses
import math

import numpy as np
from jaxtyping import Bool, Float32, Int16, Int32, UInt8

from train_tpu.data import scene_paint
from train_tpu.data.scene_shapes import SHAPES, SMALLEST_BOX

LEAST_OBJECTS, MOST_OBJECTS = 10, 16
SHORTEST, LONGEST = 8, 200  # pixels: the longer side of an object's box, before anything covers it
MIDDLING = 0.42  # diameter at most, as a share of the scene's shorter side, of all objects but perhaps one:
LARGE_SHARE, LARGE = 0.6, (0.5, 0.78)  # so many scenes have a large one, its diameter in this range
LEAST_VISIBLE = 0.7  # share of an object's pixels inside the scene that others leave free
HUES = 0.98  # width of a class's hues, in eighths of the circle; surfaces vary a little around them
TOWARDS_MIDDLING = 0.45  # diameters are uniform in their logarithm for 1, and the smaller this, the larger
TRIES, SMALLER = 30, 0.85  # to find a place; after each but the first five the object shrinks by this factor


@dataclasses.dataclass(frozen=True)
class Scene:
    """What was drawn.

    owner: number of the object that each pixel belongs to, -1 = background; object i has labels[i].
    boxes: x1 y1 x2 y2 around the visible pixels. diameters: of the circles around the whole objects.
    """

    image: UInt8[np.ndarray, "h w 3"]
    owner: Int16[np.ndarray, "h w"]
    boxes: Float32[np.ndarray, "n 4"]
    labels: Int32[np.ndarray, "n"]
    diameters: Float32[np.ndarray, "n"]


def draw_scene(height: int, width: int, rng: np.random.Generator) -> Scene:
    """One scene, every choice from `rng`; labels count SHAPES."""
    canvas = scene_paint.background(height, width, rng)
    ground = _Ground(np.full((height, width), -1, np.int16))
    labels: list[int] = []
    drawn: list[_Placed] = []
    for diameter in _diameters(min(height, width), rng):
        label = int(rng.integers(len(SHAPES)))
        placed = _find_place(label, diameter, ground, rng)
        if placed is None:
            continue
        ground.add(placed)
        labels.append(label)
        drawn.append(placed)
        _paint(canvas[placed.patch], placed, _hue(label, rng), rng)
    owner = ground.owner
    return Scene(
        image=scene_paint.as_pixels(canvas, rng),
        owner=owner,
        boxes=np.array([_box(owner, number, placed) for number, placed in enumerate(drawn)], np.float32),
        labels=np.array(labels, np.int32),
        diameters=np.array([placed.diameter for placed in drawn], np.float32),
    )


@dataclasses.dataclass(frozen=True)
class _Placed:
    """An object at its place: the patch of the scene that it lies in, and what is known there of each pixel.

    distance: from the object's edge, in radii, negative inside. u, v: coordinates on it, in radii.
    """

    patch: tuple[slice, slice]
    diameter: float
    u: Float32[np.ndarray, "h w"]
    v: Float32[np.ndarray, "h w"]
    distance: Float32[np.ndarray, "h w"]
    inside: Bool[np.ndarray, "h w"]


class _Ground:
    """Whose each pixel is, and how much of each object is visible."""

    def __init__(self, owner: Int16[np.ndarray, "h w"]):
        self.owner = owner
        self._areas: list[int] = []  # inside the scene, covered or not
        self._visible: list[int] = []

    def has_room(self, placed: _Placed) -> bool:
        """Whether enough of each object that it would cover stays visible."""
        return all(
            self._visible[number] - count >= LEAST_VISIBLE * self._areas[number]
            for number, count in self._covered(placed)
        )

    def add(self, placed: _Placed) -> None:
        """Put it on top."""
        for number, count in self._covered(placed):
            self._visible[number] -= count
        area = int(np.count_nonzero(placed.inside))
        self.owner[placed.patch][placed.inside] = len(self._areas)
        self._areas.append(area)
        self._visible.append(area)

    def _covered(self, placed: _Placed) -> list[tuple[int, int]]:
        """(number, pixels) of each object below."""
        counts = np.bincount(self.owner[placed.patch][placed.inside] + 1)  # the first: of the background
        return [(number - 1, int(counts[number])) for number in np.flatnonzero(counts).tolist() if number]


def _diameters(side: int, rng: np.random.Generator) -> list[float]:
    """Of the objects of a scene, in the order in which they are drawn: mostly the larger ones first."""
    least = SHORTEST / SMALLEST_BOX
    middling = min(LONGEST, max(2 * least, MIDDLING * side))
    count = int(rng.integers(LEAST_OBJECTS, MOST_OBJECTS + 1))
    diameters = least * (middling / least) ** (rng.random(count) ** TOWARDS_MIDDLING)
    if rng.random() < LARGE_SHARE:
        least_large, most_large = (min(LONGEST, share * side) for share in LARGE)
        diameters[0] = rng.uniform(least_large, most_large)
    order = np.argsort(-np.log(diameters) + rng.uniform(-0.5, 0.5, count), kind="stable")
    return [float(d) for d in diameters[order]]


def _find_place(label: int, diameter: float, ground: _Ground, rng: np.random.Generator) -> _Placed | None:
    """A place where enough of each object below stays visible, for a smaller object if need be; else None."""
    for attempt in range(TRIES):
        if attempt >= 5:
            diameter = max(SHORTEST / SMALLEST_BOX, SMALLER * diameter)
        placed = _place(label, diameter, ground.owner.shape, rng)
        if ground.has_room(placed):
            return placed
    return None


def _place(label: int, diameter: float, shape: tuple[int, ...], rng: np.random.Generator) -> _Placed:
    """Anywhere, its centre at least 0.6 radii from the border, turned by any angle."""
    height, width = shape
    radius = diameter / 2
    margin = 0.6 * radius
    x, y = rng.uniform(margin, width - margin), rng.uniform(margin, height - margin)
    angle = rng.uniform(0, 2 * math.pi)
    top, bottom = max(0, math.floor(y - radius) - 1), min(height, math.ceil(y + radius) + 1)
    left, right = max(0, math.floor(x - radius) - 1), min(width, math.ceil(x + radius) + 1)
    columns = np.arange(left, right, dtype=np.float32) + np.float32(0.5 - x)
    rows = (np.arange(top, bottom, dtype=np.float32) + np.float32(0.5 - y))[:, None]
    u, v = scene_paint.turned(columns, rows, angle, 1 / radius)
    distance = list(SHAPES.values())[label](u, v)
    return _Placed((slice(top, bottom), slice(left, right)), diameter, u, v, distance, distance < 0)


def _paint(canvas: np.ndarray, placed: _Placed, hue: float, rng: np.random.Generator) -> None:
    """Draw the object into its patch; pixels on its edge take of its colour what they share with it."""
    colours = scene_paint.surface(placed.u, placed.v, placed.distance, hue, rng)
    share = np.clip(0.5 - placed.distance * np.float32(placed.diameter / 2), 0, 1)[..., None]
    canvas += share * (colours - canvas)


def _hue(label: int, rng: np.random.Generator) -> float:
    """Around the class's own; the outer ones of its hues belong to its neighbours as well."""
    return (label + 0.5 + HUES * (rng.random() - 0.5)) / len(SHAPES)


def _box(owner: np.ndarray, number: int, placed: _Placed) -> tuple[int, int, int, int]:
    """x1 y1 x2 y2 around what can be seen of it."""
    rows, columns = placed.patch
    mine = owner[placed.patch] == number
    down, across = np.flatnonzero(mine.any(1)), np.flatnonzero(mine.any(0))
    left, top = columns.start, rows.start
    return left + across[0], top + down[0], left + across[-1] + 1, top + down[-1] + 1
