"""Room for the names of points: each beside its point, on nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

#: Where a name may stand, in the order in which it is tried: the side of its point that it hangs on, and how
#: far up of the distances below.
_SIDES = (
    ("left", 0.5), ("right", -0.5), ("right", 0.5), ("left", -0.5), ("left", 0), ("right", 0),
    ("middle", 1), ("middle", -1),
)  # fmt: skip
_FAR = (4.0, 12.0, 21.0)


@dataclass(frozen=True)
class Box:
    """In pixels, from the lower left corner."""

    left: float
    bottom: float
    right: float
    top: float

    def meets(self, other: Box) -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.bottom < other.top
            and other.bottom < self.top
        )

    def inside(self, other: Box) -> bool:
        return (
            self.left >= other.left
            and self.right <= other.right
            and self.bottom >= other.bottom
            and self.top <= other.top
        )


def around(x: float, y: float, radius: float) -> Box:
    return Box(x - radius, y - radius, x + radius, y + radius)


def place(
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    taken: Sequence[Box],
    room: Box,
    scale: float = 1.0,
) -> list[Box | None]:
    """A box for each name, near its point, inside `room`, on no other and on nothing of `taken`.

    Names are placed in their order: give the important ones first.

    Args:
      points: pixels of each point.
      sizes: (width, height) in pixels of each name.
      taken: what names may not cover, the points themselves for example.
      room: of the whole picture.
      scale: pixels of a point of type, for the distances.

    Returns:
      None where there is no room for a name.
    """
    used = list(taken)
    found: list[Box | None] = []
    for point, size in zip(points, sizes, strict=True):
        spots = (_spot(point, size, side, up, far * scale) for far in _FAR for side, up in _SIDES)
        free = (box for box in spots if box.inside(room) and not any(box.meets(other) for other in used))
        box = next(free, None)
        found.append(box)
        if box is not None:
            used.append(box)
    return found


def _spot(point: tuple[float, float], size: tuple[float, float], side: str, up: float, far: float) -> Box:
    (x, y), (width, height) = point, size
    left = {"left": x - far - width, "right": x + far, "middle": x - width / 2}[side]
    middle = y + up * (far + height) if side == "middle" else y + 2 * up * far
    return Box(left, middle - height / 2, left + width, middle + height / 2)
