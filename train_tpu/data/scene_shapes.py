"""The shapes of the drawn scenes, each as a function whose sign says what lies inside.

A shape is centred at (0, 0), touches the circle of radius 1 and takes (u, v), float32 arrays that broadcast
together. It gives about the distance to the shape's edge, in radii: negative inside. So an edge can be
drawn smooth (by how far off a pixel lies) while the mask stays exact (pixels whose centre is inside). Only
sums, products, square roots and comparisons are used, which give the same bits everywhere.
"""

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float32

Plane = Float32[np.ndarray, "h w"]
Shape = Callable[[Plane, Plane], Plane]


def disc(u: Plane, v: Plane) -> Plane:
    """All of the circle."""
    return np.sqrt(u * u + v * v) - 1


def ring(u: Plane, v: Plane) -> Plane:
    """A circle with a hole of half its radius, through which one sees what is behind."""
    return np.abs(np.sqrt(u * u + v * v) - 0.75) - 0.25


def square(u: Plane, v: Plane) -> Plane:
    """With sides of sqrt(2)."""
    return np.maximum(np.abs(u), np.abs(v)) - math.sqrt(0.5)


def triangle(u: Plane, v: Plane) -> Plane:
    """With three equal sides."""
    slope = math.sqrt(0.75)
    return np.maximum(v, slope * np.abs(u) - 0.5 * v) - 0.5


def cross(u: Plane, v: Plane) -> Plane:
    """Two equal bars at a right angle."""
    across, along = 0.36, math.sqrt(1 - 0.36**2)
    u, v = np.abs(u), np.abs(v)
    return np.minimum(np.maximum(u - along, v - across), np.maximum(v - along, u - across))


def star(u: Plane, v: Plane) -> Plane:
    """Five tips, and dents between them at 0.55 radii."""
    fifth = math.pi / 5
    along, off = u, np.abs(v)  # on the axis through the nearest tip, and beside it
    for k in range(1, 5):
        cosine, sine = math.cos(2 * fifth * k), math.sin(2 * fifth * k)
        other = cosine * u + sine * v
        off = np.where(other > along, np.abs(cosine * v - sine * u), off)
        along = np.maximum(along, other)
    # from the tip at (1, 0) to the dent on its left, and the normal of that edge
    x, y = 0.55 * math.cos(fifth) - 1, 0.55 * math.sin(fifth)
    length = math.hypot(x, y)
    return (y / length) * (along - 1) - (x / length) * off


def crescent(u: Plane, v: Plane) -> Plane:
    """A circle without another, whose centre lies within it."""
    away = u - 0.6
    return np.maximum(np.sqrt(u * u + v * v) - 1, 0.75 - np.sqrt(away * away + v * v))


def bar(u: Plane, v: Plane) -> Plane:
    """Twice as long as wide."""
    across = math.sqrt(0.2)
    return np.maximum(np.abs(u) - 2 * across, np.abs(v) - across)


# In an order in which neighbours look least alike: objects of neighbouring classes may have the same colour.
SHAPES: dict[str, Shape] = {
    "disc": disc,
    "bar": bar,
    "ring": ring,
    "star": star,
    "square": square,
    "crescent": crescent,
    "triangle": triangle,
    "cross": cross,
}
# The longer side of a shape's box, turned as it may be, lies between this and 1, in diameters of the circle:
# a square that stands upright has the smallest box.
SMALLEST_BOX = math.sqrt(0.5)
