"""The values in COCO's annotation files: what each may be, and a clear error where it is something else."""

import os
from pathlib import PurePath
from reprlib import repr as short
from typing import Any

import numpy as np
from jaxtyping import Float64, Int32

from train_tpu.errors import UserError

LEAST_NUMBERS = 6  # of a polygon: three points
FARTHEST = 1e5  # pixels: COCO's filling walks along every edge, and one to infinity never ends
LONGEST = 1e6  # pixels of a polygon's edges together: filling takes about 100 bytes for each
POINTS = 3  # pairs of numbers from which on they must be meant as the points of one polygon


def check_name(name: Any) -> None:
    """Raise TypeError or ValueError unless it is a path below the folder of images.

    An annotation file comes from elsewhere: it may not name files elsewhere on this machine.
    """
    if not isinstance(name, str) or not name:
        raise TypeError("file_name must be a text")
    path = PurePath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise ValueError(f"file_name {short(name)} must be a path below the folder of images")
    os.fsencode(name)  # half a surrogate pair is no name of a file


def read_box(box: Any, called: str) -> tuple[float, float, float, float]:
    """x, y, width, height; `called` names the annotation in the UserError that all else ends in."""
    try:
        values = np.asarray(box, np.float64)
    except (TypeError, ValueError, OverflowError):
        values = np.zeros(0)
    if values.shape != (4,) or not (np.abs(values) < FARTHEST).all() or min(values[2:]) < 0:
        raise UserError(
            f"{called}: bbox {short(box)}; expected [x, y, width, height] below {FARTHEST:,.0f} pixels"
        )
    x, y, width, height = values.tolist()
    return x, y, width, height


def read_flag(row: dict[str, Any], name: str) -> bool:
    """0 or 1, 0 where it is missing; raises TypeError."""
    value = row.get(name, 0)
    if not isinstance(value, int) or value not in (0, 1):
        raise TypeError(f"{name} must be 0 or 1, not {short(value)}")
    return bool(value)


def read_area(area: Any) -> float | None:
    """Pixels; raises TypeError or ValueError where that is no finite number."""
    if area is None:
        return None
    if not abs(value := float(area)) < FARTHEST**2:
        raise ValueError(f"area {short(area)} must be a number of pixels")
    return value


def learnable(box: tuple[float, float, float, float], area: float | None, height: int, width: int) -> bool:
    """mmdetection's rule, in pixels of the image as it is stored (CocoDataset._parse_ann_info)."""
    x, y, w, h = box
    across, down = min(x + w, width) - max(x, 0), min(y + h, height) - max(y, 0)
    return min(w, h) >= 1 and min(across, down) > 0 and (area is None or area > 0)


def read_counts(counts: Any) -> Int32[np.ndarray, "runs"]:
    """Lengths of runs that are written out; raises TypeError."""
    if not isinstance(counts, list) or not all(type(count) is int and count >= 0 for count in counts):
        raise TypeError(f"counts must be a text or a list of whole numbers from 0, not {short(counts)}")
    return np.array(counts, np.int32)


def read_polygons(shape: Any) -> "list[Float64[np.ndarray, 'numbers']]":
    """Those of a list of polygons that can be drawn; raises TypeError where it is none."""
    _refuse_points(shape)
    return [part for part in map(_polygon, shape or ()) if part is not None]


def _refuse_points(shape: Any) -> None:
    """[[x, y], [x, y], [x, y]] would pass for polygons of one point each."""
    parts = shape or ()
    if len(parts) >= POINTS and all(isinstance(part, list) and len(part) == 2 for part in parts):
        raise TypeError(f"a polygon must be a flat list x1, y1, x2, y2, ..., not points {short(shape)}")


def _polygon(part: Any) -> "Float64[np.ndarray, 'numbers'] | None":
    """None where it cannot be drawn."""
    try:
        values = np.asarray(part, np.float64)
    except (TypeError, ValueError, OverflowError):
        values = np.zeros(())
    if values.ndim != 1:
        raise TypeError(f"a polygon must be a list of numbers, not {short(part)}")
    if len(values) < LEAST_NUMBERS or len(values) % 2:
        return None
    farthest = np.abs(values).max()
    if not farthest < FARTHEST:  # or no number
        return None
    if farthest * len(values) > LONGEST:  # no edge is longer than twice that, and two numbers make one
        points = values.reshape(-1, 2)
        edges = np.abs(np.roll(points, -1, axis=0) - points).max(axis=1)  # what filling walks along each
        return values if edges.sum() <= LONGEST else None
    return values
