"""The embedded data set of the dense tasks: scenes drawn by code, with exact masks and boxes.

A scene is a textured background with 10 to 16 objects of eight shapes on it, turned as they like, 8 to 200
pixels long, that cover each other and may reach over the border. Each pixel knows whose it is, so the
masks (of what can be seen), the boxes around them and the semantic map are exact. The shape makes the class:
an object has a hue of its class's own only with probability HUE_HABIT, so the best guess by colour alone is
right in about 56% of all cases.

A scene is drawn when it is read, from its split, index and size alone: nothing is stored, and every config,
host and run sees the same ones.
"""

import dataclasses
import math

import numpy as np
from jaxtyping import Bool, Float32, Int16, Int32, UInt8

from train_tpu.config import Config
from train_tpu.data import scene_paint
from train_tpu.data.dense_examples import DETECTION, SEGMENTATION, DenseDataset, DenseExample
from train_tpu.data.scene_shapes import SHAPES, SMALLEST_BOX
from train_tpu.errors import UserError

THINGS = tuple(SHAPES)  # classes of objects: labels 0 to 7
CLASSES = ("background", *THINGS)  # of the semantic map: a thing's is its label plus 1

TRAIN_SCENES, HELD_OUT_SCENES = 4096, 256
SPLITS = ("train", "held_out")  # the position of a split is part of its scenes' seeds
SEED = 7

LEAST_OBJECTS, MOST_OBJECTS = 10, 16
LEAST_SIDE = 64  # pixels of a scene: there is no room for ten objects on a smaller one
SHORTEST, LONGEST = 8, 200  # pixels: the longer side of an object's box, before anything covers it
LARGE_SHARE = 0.5  # of scenes that have one large object; the others are small or middling
LARGE, MIDDLING = 0.78, 0.375  # diameters at most, as shares of the scene's shorter side
LEAST_VISIBLE = 0.6  # share of an object's pixels inside the scene that others leave free
HUE_HABIT = 0.5  # probability of a hue of the class's own eighth of the circle; else any hue
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


@dataclasses.dataclass(frozen=True)
class Visible:
    """A mask: what can be seen of object `number`."""

    owner: Int16[np.ndarray, "h w"]
    number: int

    def bitmap(self, height: int, width: int, /) -> Bool[np.ndarray, "h w"]:
        """The object's pixels.

        Raises:
          ValueError: the scene has another size.
        """
        if self.owner.shape != (height, width):
            mine = "x".join(map(str, self.owner.shape))
            raise ValueError(f"a mask of {mine} pixels, its image has {height}x{width}")
        return self.owner == self.number


class ScenesSource:
    """Scene i of a split, drawn when asked.

    Args:
      split: one of SPLITS.
      count: how many there are; scene i is the same whatever the count.
      height, width: of the scenes, in pixels.
    """

    def __init__(self, split: str, count: int, height: int, width: int):
        self._split = split
        self._count = count
        self._size = height, width

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> DenseExample:
        scene = draw_scene(*self._size, np.random.default_rng((SEED, SPLITS.index(self._split), index)))
        classes = np.append(scene.labels + 1, 0).astype(np.uint8)  # the last: of owner -1
        return {
            "image": scene.image,
            "name": self.name_of(index),
            "semantic": classes[scene.owner],
            "boxes": scene.boxes,
            "labels": scene.labels,
            "crowd": np.zeros(len(scene.labels), bool),
            "masks": tuple(Visible(scene.owner, number) for number in range(len(scene.labels))),
            "index": int(index),
        }

    def name_of(self, index: int) -> str:
        """For messages and pictures."""
        return f"{self._split} scene {index}"

    def size_of(self, index: int) -> tuple[int, int]:
        """(height, width)."""
        return self._size

    def __repr__(self) -> str:
        return f"ScenesSource({self._count} {self._split} scenes of {self._size[0]}x{self._size[1]} px)"


def load(data: Config, task: str) -> DenseDataset:
    """The scenes at `data.image_size`, one number or (height, width).

    Raises:
      UserError: too small.
    """
    height, width = scene_size(data.image_size)
    return DenseDataset(
        name="drawn scenes",
        train=ScenesSource("train", TRAIN_SCENES, height, width),
        held_out=ScenesSource("held_out", HELD_OUT_SCENES, height, width),
        class_names=CLASSES if task == SEGMENTATION else THINGS,
        tasks=(SEGMENTATION, DETECTION),
        most_objects=MOST_OBJECTS,
        embedded=True,
    )


def scene_size(image_size: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width) of what a config's image_size says.

    Raises:
      UserError: too small.
    """
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    if min(height, width) < LEAST_SIDE:
        raise UserError(
            f"--config.data.image_size={image_size}: drawn scenes have {LEAST_SIDE} pixels or more a side"
        )
    return height, width


def draw_scene(height: int, width: int, rng: np.random.Generator) -> Scene:
    """One scene, every choice from `rng`."""
    canvas = scene_paint.background(height, width, rng)
    owner = np.full((height, width), -1, np.int16)
    areas: list[int] = []  # of each object, inside the scene, covered or not
    labels: list[int] = []
    drawn: list[_Placed] = []
    for diameter in _diameters(min(height, width), rng):
        label = int(rng.integers(len(THINGS)))
        placed = _find_place(label, diameter, owner, areas, rng)
        if placed is None:
            continue
        owner[placed.patch][placed.inside] = len(areas)
        areas.append(int(placed.inside.sum()))
        labels.append(label)
        drawn.append(placed)
        _paint(canvas[placed.patch], placed, _hue(label, rng), rng)
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


def _diameters(side: int, rng: np.random.Generator) -> list[float]:
    """Of the objects of a scene, in the order in which they are drawn: mostly the larger ones first."""
    least = SHORTEST / SMALLEST_BOX
    middling = min(LONGEST, max(2 * least, MIDDLING * side))
    large = min(LONGEST, LARGE * side)
    count = int(rng.integers(LEAST_OBJECTS, MOST_OBJECTS + 1))
    diameters = np.exp(rng.uniform(math.log(least), math.log(middling), count))
    if rng.random() < LARGE_SHARE:
        diameters[0] = rng.uniform(min(middling, large), large)
    order = np.argsort(-np.log(diameters) + rng.uniform(-0.5, 0.5, count), kind="stable")
    return [float(d) for d in diameters[order]]


def _find_place(
    label: int, diameter: float, owner: np.ndarray, areas: list[int], rng: np.random.Generator
) -> _Placed | None:
    """A place where enough of each object below stays visible, for a smaller object if need be; else None."""
    least = SHORTEST / SMALLEST_BOX
    visible = np.bincount(owner[owner >= 0], minlength=len(areas))
    needed = LEAST_VISIBLE * np.array(areas, np.float64)
    for attempt in range(TRIES):
        if attempt >= 5:
            diameter = max(least, SMALLER * diameter)
        placed = _place(label, diameter, owner.shape, rng)
        below = owner[placed.patch][placed.inside]
        covered = np.bincount(below[below >= 0], minlength=len(areas))
        if np.all((visible - covered >= needed) | (covered == 0)):
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
    distance = SHAPES[THINGS[label]](u, v)
    return _Placed((slice(top, bottom), slice(left, right)), diameter, u, v, distance, distance < 0)


def _paint(canvas: np.ndarray, placed: _Placed, hue: float, rng: np.random.Generator) -> None:
    """Draw the object into its patch; pixels on its edge take of its colour what they share with it."""
    colours = scene_paint.surface(placed.u, placed.v, placed.distance, hue, rng)
    share = np.clip(0.5 - placed.distance * np.float32(placed.diameter / 2), 0, 1)[..., None]
    canvas += share * (colours - canvas)


def _hue(label: int, rng: np.random.Generator) -> float:
    """0 to 1."""
    if rng.random() < HUE_HABIT:
        return (label + rng.random()) / len(THINGS)
    return rng.random()


def _box(owner: np.ndarray, number: int, placed: _Placed) -> tuple[int, int, int, int]:
    """x1 y1 x2 y2 around what can be seen of it."""
    rows, columns = placed.patch
    mine = owner[placed.patch] == number
    down, across = np.flatnonzero(mine.any(1)), np.flatnonzero(mine.any(0))
    left, top = columns.start, rows.start
    return left + across[0], top + down[0], left + across[-1] + 1, top + down[-1] + 1
