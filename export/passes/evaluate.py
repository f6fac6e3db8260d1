"""StableHLO operations on NumPy arrays: what folding needs beyond what NumPy has under the same name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from export.lower.program import Op

_COMPARE: dict[str, Callable] = {
    "EQ": np.equal,
    "NE": np.not_equal,
    "GE": np.greater_equal,
    "GT": np.greater,
    "LE": np.less_equal,
    "LT": np.less,
}


def _divide(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """As StableHLO divides: integers towards zero."""
    return np.trunc(x / y).astype(x.dtype) if x.dtype.kind in "iu" else x / y


ELEMENTWISE: dict[str, Callable[..., np.ndarray]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": _divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "power": np.power,
    "and": lambda x, y: x & y,
    "or": lambda x, y: x | y,
    "not": lambda x: ~x,
    "negate": np.negative,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: (1 / np.sqrt(x)).astype(x.dtype),
    "exponential": np.exp,
    "log": np.log,
    "abs": np.abs,
    "tanh": np.tanh,
    "logistic": lambda x: (1 / (1 + np.exp(-x))).astype(x.dtype),
    "floor": np.floor,
    "sign": np.sign,
    "select": np.where,
    "xor": lambda x, y: x ^ y,
    "remainder": np.fmod,
    "ceil": np.ceil,
    "round_nearest_even": np.round,
    "sine": np.sin,
    "cosine": np.cos,
    "is_finite": np.isfinite,
    "log_plus_one": np.log1p,
    "exponential_minus_one": np.expm1,
    "clamp": lambda low, x, high: np.minimum(np.maximum(x, low), high),
}


def compare(op: Op, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return _COMPARE[direction(op)](x, y)


def direction(op: Op) -> str:
    """EQ, LT, ... of a comparison."""
    return str(op.attrs["comparison_direction"]).split()[-1].strip(">")


def iota(op: Op) -> np.ndarray:
    axis, out = op.attrs["iota_dimension"], op.output
    shape = [-1 if i == axis else 1 for i in range(out.rank)]
    return np.broadcast_to(np.arange(out.shape[axis]).reshape(shape), out.shape).astype(out.dtype)


def cut(op: Op, x: np.ndarray) -> np.ndarray:
    """slice"""
    keys = ("start_indices", "limit_indices", "strides")
    return x[tuple(slice(*bounds) for bounds in zip(*(op.attrs[key] for key in keys), strict=True))]


def pad(op: Op, x: np.ndarray, fill: np.ndarray) -> np.ndarray | None:
    low, high = op.attrs["edge_padding_low"], op.attrs["edge_padding_high"]
    if any(op.attrs["interior_padding"]) or min((*low, *high), default=0) < 0:
        return None
    return np.pad(x, list(zip(low, high, strict=True)), constant_values=fill)


def dot_general(op: Op, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Batch dimensions, then the free ones of the left and the right operand; summed in float32 or wider."""
    numbers = op.attrs["dot_dimension_numbers"]
    batch = list(zip(numbers["lhs_batching_dimensions"], numbers["rhs_batching_dimensions"], strict=True))
    inner = list(
        zip(numbers["lhs_contracting_dimensions"], numbers["rhs_contracting_dimensions"], strict=True)
    )
    letters = [chr(ord("a") + place) for place in range(x.ndim + y.ndim)]
    left, right = letters[: x.ndim], letters[x.ndim :]
    for a, b in (*batch, *inner):
        right[b] = left[a]
    gone = {left[a] for a, _ in (*batch, *inner)}
    out = [left[a] for a, _ in batch] + [letter for letter in (*left, *right) if letter not in gone]
    narrow = x.dtype.itemsize == 2 and x.dtype.kind in "fV"  # "V": bfloat16
    wide = np.dtype(np.float32) if narrow else x.dtype
    formula = f"{''.join(left)},{''.join(right)}->{''.join(out)}"
    return np.einsum(formula, x.astype(wide), y.astype(wide), optimize=True).astype(op.output.dtype)


def dynamic_slice(op: Op, x: np.ndarray, *starts: np.ndarray) -> np.ndarray:
    """A start that would leave the operand is moved back, as StableHLO says."""
    sizes = op.attrs["slice_sizes"]
    first = [max(0, min(int(s), n - k)) for s, n, k in zip(starts, x.shape, sizes, strict=True)]
    return x[tuple(slice(s, s + k) for s, k in zip(first, sizes, strict=True))]


def gather(op: Op, x: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """General gather: a slice of `slice_sizes` for every index vector, starts clamped to the operand."""
    numbers, sizes = op.attrs["dimension_numbers"], op.attrs["slice_sizes"]
    vector = numbers["index_vector_dim"]
    if vector == starts.ndim:
        starts = starts[..., None]
    batch_shape = tuple(n for axis, n in enumerate(starts.shape) if axis != vector)
    flat = np.moveaxis(starts, vector, -1).reshape(-1, starts.shape[vector])
    gone = {*numbers["collapsed_slice_dims"], *numbers["operand_batching_dims"]}
    positions = list(np.ndindex(*batch_shape)) if numbers["operand_batching_dims"] else []
    pieces = []
    for row, index in enumerate(flat):
        first = [0] * x.ndim
        for axis, start in zip(numbers["start_index_map"], index, strict=True):
            first[axis] = max(0, min(int(start), x.shape[axis] - sizes[axis]))
        pairs = zip(numbers["operand_batching_dims"], numbers["start_indices_batching_dims"], strict=True)
        for axis, of_start in pairs:
            first[axis] = positions[row][of_start if of_start < vector else of_start - 1]
        piece = x[tuple(slice(s, s + k) for s, k in zip(first, sizes, strict=True))]
        pieces.append(piece.reshape([n for axis, n in enumerate(piece.shape) if axis not in gone]))
    stacked = np.stack(pieces).reshape(*batch_shape, *pieces[0].shape)
    offset = numbers["offset_dims"]
    rest = [axis for axis in range(stacked.ndim) if axis not in offset]
    order = [0] * stacked.ndim
    for place, axis in enumerate([*rest, *offset]):
        order[axis] = place
    return stacked.transpose(order)
