"""Position tables of a checkpoint, interpolated to the image size of another model.

Everything here is separable, with the numbers of PyTorch's `interpolate(mode, align_corners=False,
antialias=False)`, with which the reference implementations do it: sampled at pixel centres, the border
repeated. Bicubic unless said otherwise: Keys' kernel with a = -0.75 ("Cubic convolution interpolation for
digital image processing", 1981). Tables of a PyTorch checkpoint are square, because nothing in it tells the
grid; those of our own weights files know it.

The functions `*_table(...)` make the hook of a `Leaf`, `resize(tensor, wanted shape, old=None) -> tensor`,
both in the checkpoint's order of axes. `old` are the `grids` of the hook that the tensor was made for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

Grid = tuple[int, int]
Grids = tuple[Grid, ...]
Lines = Callable[[int, int], np.ndarray]  # (old, new) -> weights (new, old) of one line


class Resize(Protocol):
    """A hook; `grids` are the maps that its tables are of."""

    @property
    def grids(self) -> Grids: ...

    def __call__(
        self, tensor: np.ndarray, shape: tuple[int, ...], old: Grids | None = None
    ) -> np.ndarray: ...


SHARPNESS = -0.75  # a of Keys' kernel, as PyTorch has it


def bicubic_matrix(old: int, new: int) -> np.ndarray:
    """Weights `(new, old)` that turn `old` samples of a line into `new`; float64, each row sums to one."""
    centres = (np.arange(new) + 0.5) * old / new - 0.5
    first = np.floor(centres).astype(int) - 1
    matrix = np.zeros((new, old))
    for tap in range(4):
        position = first + tap
        np.add.at(matrix, (np.arange(new), np.clip(position, 0, old - 1)), _keys(np.abs(centres - position)))
    return matrix


def bilinear_matrix(old: int, new: int) -> np.ndarray:
    """As `bicubic_matrix`, between the two nearest samples."""
    centres = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    return np.maximum(0, 1 - np.abs(centres[:, None] - np.arange(old)))


def resize_maps(maps: np.ndarray, grid: Grid, lines: Lines = bicubic_matrix) -> np.ndarray:
    """Interpolate the two last axes of `(..., height, width)` to `grid`; computed in float64."""
    rows, columns = (lines(old, new) for old, new in zip(maps.shape[-2:], grid, strict=True))
    return np.einsum("yh,...hw,xw->...yx", rows, maps.astype(np.float64), columns, optimize=True)


def token_table(grid: Grid, lines: Lines = bicubic_matrix, others: int = 0) -> Resize:
    """Hook for one vector a position, `(..., n, c)`: interpolated to the n = height * width of `grid`.

    The first `others` positions, of a class token for example, are kept.
    """
    return _TokenTable((grid,), lines, others)


@dataclass(frozen=True)
class _TokenTable:
    grids: Grids
    lines: Lines
    others: int

    def __call__(self, tensor: np.ndarray, shape: tuple[int, ...], old: Grids | None = None) -> np.ndarray:
        _check_others(tensor, shape, axes=(-2,))
        kept, table = np.split(np.moveaxis(tensor, -2, -1), [self.others], axis=-1)
        table = resize_axis(table, self.grids[0], self.lines, old[0] if old else None)
        return np.moveaxis(np.concatenate([kept, table], axis=-1), -1, -2)


def pair_table(queries: Grid, keys: Grid) -> Resize:
    """Hook for one value a pair of positions, `(..., queries, keys)`: interpolated over the map of the
    queries and over that of the keys."""
    return _PairTable((queries, keys))


@dataclass(frozen=True)
class _PairTable:
    grids: Grids

    def __call__(self, tensor: np.ndarray, shape: tuple[int, ...], old: Grids | None = None) -> np.ndarray:
        _check_others(tensor, shape, axes=(-2, -1))
        tensor = resize_axis(tensor, self.grids[1], old=old[1] if old else None)
        tensor = resize_axis(np.moveaxis(tensor, -2, -1), self.grids[0], old=old[0] if old else None)
        return np.moveaxis(tensor, -1, -2)


def offset_table(window: Grid) -> Resize:
    """Hook for one vector a relative offset in a window, `((2h - 1) * (2w - 1), heads)`, as of Swin."""
    return token_table((2 * window[0] - 1, 2 * window[1] - 1))


def _keys(distance: np.ndarray) -> np.ndarray:
    """Keys' cubic kernel at distances from 0 to 2, 0 beyond."""
    a, d = SHARPNESS, distance
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def resize_axis(
    table: np.ndarray, grid: Grid, lines: Lines = bicubic_matrix, old: Grid | None = None
) -> np.ndarray:
    """Interpolate the last axis, the flattened map `old` (by default a square one), to that of `grid`."""
    old = square(table.shape[-1], grid) if old is None else old
    maps = table.reshape(*table.shape[:-1], *old)
    return resize_maps(maps, grid, lines).reshape(*table.shape[:-1], grid[0] * grid[1])


def square(positions: int, grid: Grid) -> Grid:
    """The square map of so many positions, which are wanted for `grid`; ValueError if there is none."""
    side = math.isqrt(positions)
    if side * side != positions:
        raise ValueError(
            f"{positions} positions are no square map, so that their grid is not known: "
            f"interpolate them to {grid[0]}x{grid[1]} positions first"
        )
    return side, side


def _check_others(tensor: np.ndarray, shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    """Refuse a table that differs in more than the number of positions, such as that of another variant."""
    kept = [axis for axis in range(-len(shape), 0) if axis not in axes]
    if tensor.ndim != len(shape) or any(tensor.shape[axis] != shape[axis] for axis in kept):
        raise ValueError("more than the number of positions differs")
