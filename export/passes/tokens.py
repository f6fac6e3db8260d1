"""Queries, keys or values as what they are: tokens of an image, times some columns of a weight matrix.

However a model wrote it (one projection for all three, windows, rolls, heads before or after), an element
[group, token, head, d] is one row of a linear map's input times one column of its kernel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from export.lower.program import Matcher, Op, Value
from export.passes.moves import beginning, numbers, origin, sizes, source
from export.passes.product import factors


@dataclass(eq=False)
class Projection:
    """`value[batch * groups + g, token, head, d] = x[batch, rows[g, token]] @ kernel[:, head, d] + bias`.

    `x` has the batch first and channels last; `rows` counts what lies between them, row-major.
    """

    linear: Op
    x: Value
    rows: np.ndarray
    kernel: np.ndarray
    bias: np.ndarray | None
    bias_name: str = ""

    def with_input_bias(self, bias: np.ndarray) -> Projection:
        """The projection of `x + bias` as one of `x`."""
        wide = bias.astype(np.float64) @ self.kernel.reshape(len(self.kernel), -1).astype(np.float64)
        wide = wide.reshape(self.kernel.shape[1:])
        if self.bias is not None:
            wide = wide + self.bias
        return replace(self, bias=wide.astype(self.kernel.dtype), bias_name=self.bias_name or "bias")


def project(
    match: Matcher,
    value: Value,
    batch: tuple[int, ...],
    token: int,
    feature: int,
    held: dict[Op, dict[Value, np.ndarray]],
) -> Projection | None:
    """Read `value` as a projection of tokens.

    Args:
      batch: axes of `value` that the products have in common: groups and heads, in the order of the scores.
      token, feature: the other two.
      held: what is known of other values already, by linear map.
    """
    scale, rest = factors(match, value)
    linear = source(match, rest[0], "linear") if len(rest) == 1 and rest[0].shape == value.shape else None
    if linear is None or linear.attrs["axis"] != linear.inputs[0].rank - 1 or linear.output.rank < 3:
        return None
    if linear not in held:
        start = numbers(linear.output.shape)
        if start is None:
            return None
        held[linear] = {linear.output: start}
    found = origin(match, rest[0], held[linear])
    if found is None or sizes(value.shape) != found.shape:
        return None
    return _read(match, linear, found.transpose(*batch, token, feature), scale)


def _read(match: Matcher, linear: Op, found: np.ndarray, scale: float) -> Projection | None:
    """`found`: numbers of the elements of the linear map's output, as (groups..., heads..., token, d)."""
    width = sizes(linear.output.shape)[-1]
    rows, columns = np.divmod(found, width)
    count = found.ndim - 2
    heads = next((axis for axis in range(count) if np.ptp(columns, axis).any()), count)
    if any(np.ptp(columns, axis).any() for axis in (*range(heads), count)) or any(
        np.ptp(rows, axis).any() for axis in (*range(heads, count), count + 1)
    ):
        return None
    rows = rows[(slice(None),) * heads + (0,) * (count - heads)][..., 0]
    columns = columns[(0,) * heads][..., 0, :]
    x, order = _unmoved(match, linear.inputs[0])
    rows = order[rows.reshape(-1, rows.shape[-1])]
    images, per_image = sizes(x.shape)[0], _rows(x)
    if len(rows) % images:
        return None
    first = rows[: len(rows) // images]
    if (rows.reshape(images, *first.shape) - per_image * np.arange(images)[:, None, None] != first).any():
        return None
    weights = [np.asarray(weight.data) for weight in linear.inputs[1:]]
    columns = columns.reshape(-1, columns.shape[-1])
    parts = [_scaled(weights[0][:, columns], scale), *(_scaled(w[columns], scale) for w in weights[1:])]
    bias, name = (parts[1], linear.inputs[2].name) if len(parts) > 1 else (None, "")
    return Projection(linear, x, first, parts[0], bias, name)


def _unmoved(match: Matcher, x: Value) -> tuple[Value, np.ndarray]:
    """The value whose rows `x` has in another order (rolled, cut into windows), and that order."""
    base = beginning(match, x)
    start = numbers(base.shape) if base is not x and base.rank > 2 else None
    place = origin(match, x, {base: start}) if start is not None else None
    width = sizes(x.shape)[-1]
    if place is not None and sizes(base.shape)[-1] == width:
        rows, columns = np.divmod(place.reshape(-1, width), width)
        if (columns == np.arange(width)).all() and (rows == rows[:, :1]).all():
            return base, rows[:, 0]
    return x, np.arange(math.prod(sizes(x.shape)[:-1]))


def _rows(x: Value) -> int:
    return int(np.prod(sizes(x.shape)[1:-1]))


def _scaled(data: np.ndarray, scale: float) -> np.ndarray:
    """Half-precision weights are multiplied in float32 and rounded once."""
    if scale == 1.0:
        return data
    wide = np.float64 if data.dtype.itemsize >= 4 else np.float32
    return (data.astype(wide) * wide(scale)).astype(data.dtype)
