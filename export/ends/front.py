"""The front end of a file in JAX: uint8 pictures -> what the model takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from export.ends import resample
from export.ends.spec import FRONT, Ends
from hvjax.preprocessing import placement


@dataclass(frozen=True)
class Front:
    """`apply(constants, pictures)`: (b, h, w, c) as the file takes them -> (b, h, w, c) normalised, in
    float32. `constants` are matrices by name; empty where nothing is resized."""

    constants: Mapping[str, np.ndarray]
    apply: Callable[[Any, jax.Array], jax.Array]


def front(
    ends: Ends,
    size: tuple[int, int],
    *,
    crop_pct: float,
    interpolation: str,
    mean: Sequence[float],
    std: Sequence[float],
) -> Front:
    """The steps of `ends.preprocess` for a model that takes (height, width) = `size`, by the rule of
    `hvjax.preprocessing`.

    All of it is in float32, whatever the model computes in: pixels are exact in every type, and normalised
    ones are rounded once, as those are that a plain file takes.
    """
    if not ends.takes_pictures:
        return Front({}, lambda constants, images: images)
    columns, rows = None, None
    if ends.source is not None:
        resized, (top, left) = placement(ends.source, size, crop_pct)
        rows = _axis(ends.source[0], resized[0], top, size[0], interpolation)
        columns = _axis(ends.source[1], resized[1], left, size[1], interpolation)
    deviations = np.asarray(std, np.float64)
    scale, shift = 1 / (255 * deviations), -np.asarray(mean, np.float64) / deviations
    constants = {
        name: axis.matrix for name, axis in (("columns", columns), ("rows", rows)) if axis and axis.resizes
    }

    def apply(held: Any, pictures: jax.Array) -> jax.Array:
        with jax.named_scope(FRONT):
            x = pictures.astype(jnp.float32)
            if columns is not None and rows is not None:
                x = x.transpose(0, 3, 1, 2)
                x = columns.apply(x, held.get("columns"))
                x = rows.apply(x.transpose(0, 1, 3, 2), held.get("rows"))
                x = x.transpose(0, 3, 2, 1)
            return x * scale.astype(np.float32) + shift.astype(np.float32)

    return Front(constants, apply)


@dataclass(frozen=True)
class _Axis:
    """Resizing and cutting of the last axis: by `matrix`, or by slicing alone."""

    matrix: np.ndarray
    start: int
    count: int
    resizes: bool

    def apply(self, x: jax.Array, matrix: Any) -> jax.Array:
        if not self.resizes:
            return x[..., self.start : self.start + self.count]
        product = jnp.matmul(x, matrix)
        coarse, fine = product[..., : self.count], product[..., self.count :]
        whole = jnp.floor(coarse)
        return jax.lax.clamp(0.0, whole + jnp.floor((coarse - whole) + fine + 0.5), 255.0)


def _axis(size: int, new: int, start: int, count: int, interpolation: str) -> _Axis:
    inside = start >= 0 and start + count <= new
    if size == new and inside:
        return _Axis(np.zeros((0, 0), np.float32), start, count, False)
    weights = resample.matrix(size, new, interpolation if size != new else "nearest")
    return _Axis(resample.halves(resample.cut_rows(weights, start, count)), start, count, True)
