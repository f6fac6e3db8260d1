"""The shapes against geometry's own formulas."""

import math

import numpy as np
import pytest

from train_tpu.data.scene_shapes import SHAPES, SMALLEST_BOX

GRID = 801  # points across the square around the circle: 5 thousandths of a radius is two of them
AREA = 0.01  # relative: of what a grid of pixels makes of a curved edge


def lens(apart: float, first: float, second: float) -> float:
    """Area that two circles have in common."""
    one = first**2 * math.acos((apart**2 + first**2 - second**2) / (2 * apart * first))
    two = second**2 * math.acos((apart**2 + second**2 - first**2) / (2 * apart * second))
    kite = (-apart + first + second) * (apart + first - second) * (apart - first + second)
    return one + two - 0.5 * math.sqrt(kite * (apart + first + second))


AREAS = {
    "disc": math.pi,
    "ring": math.pi * (1 - 0.5**2),
    "square": 2.0,
    "triangle": 3 * math.sqrt(3) / 4,
    "cross": 2 * (2 * math.sqrt(1 - 0.36**2)) * 0.72 - 0.72**2,
    "star": 5 * math.sin(math.pi / 5) * 0.55,  # ten triangles between the centre, a tip and a dent
    "crescent": math.pi - lens(0.6, 1.0, 0.75),
    "bar": 2 * (2 * math.sqrt(0.2)) ** 2,
}


def grid(angle: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of points in the square around the circle, turned."""
    steps = np.linspace(-1, 1, GRID, dtype=np.float32)
    x, y = np.meshgrid(steps, steps)
    c, s = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    return c * x + s * y, c * y - s * x


def test_every_shape_has_its_formula() -> None:
    assert set(AREAS) == set(SHAPES)


@pytest.mark.parametrize("name", SHAPES)
def test_area_and_reach(name: str) -> None:
    u, v = grid()
    inside = SHAPES[name](u, v) < 0
    assert inside.mean() * 4 == pytest.approx(AREAS[name], rel=AREA)
    reach = np.sqrt(u * u + v * v)[inside].max()
    assert 0.98 < reach <= 1.0 + 1e-6, "it touches the circle and stays inside"


@pytest.mark.parametrize("name", SHAPES)
def test_turned_boxes_keep_their_size(name: str) -> None:
    """What lets the scenes promise objects of 8 to 200 pixels."""
    for angle in np.linspace(0, math.pi, 25):
        inside = SHAPES[name](*grid(float(angle))) < 0
        rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        longer = max(np.ptp(rows), np.ptp(columns)) / (GRID - 1)
        assert SMALLEST_BOX - 0.01 < longer <= 1.0


@pytest.mark.parametrize("name", SHAPES)
def test_distances_do_not_grow_faster_than_the_way(name: str) -> None:
    """Else the smooth edge of an object would be narrower than a pixel."""
    u, v = grid()
    distance = SHAPES[name](u, v)
    assert distance.dtype == np.float32 and distance.shape == u.shape
    step = 2 / (GRID - 1)
    for axis in (0, 1):
        assert np.abs(np.diff(distance, axis=axis)).max() <= step * 1.001
