"""Fold constants: whatever can be computed from weights and literals alone is computed now.

`broadcast_in_dim` is left alone (ONNX broadcasts by itself), so no weight is ever blown up, except under a
`reduce_window` of ones (the divisor of an average pool), which is small.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from export.lower.program import Op, Program, Value, static
from export.lower.reduce import is_neutral


def _divide(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """As StableHLO divides: integers towards zero."""
    return np.trunc(x / y).astype(x.dtype) if x.dtype.kind in "iu" else x / y


_BINARY: dict[str, Callable] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": _divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "power": np.power,
}
_UNARY: dict[str, Callable] = {
    "negate": np.negative,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: (1 / np.sqrt(x)).astype(x.dtype),
    "exponential": np.exp,
    "log": np.log,
    "abs": np.abs,
    "tanh": np.tanh,
}
_REDUCERS: dict[str, Callable] = {"add": np.sum, "maximum": np.max, "minimum": np.min, "multiply": np.prod}


def fold_constants(program: Program) -> None:
    """Evaluate operations on constants, drop operations that change nothing, remove what is then unused."""
    replaced: dict[Value, Value] = {}
    broadcast: dict[Value, Op] = {}
    kept = []
    for op in program.ops:
        op.inputs = [replaced.get(value, value) for value in op.inputs]
        if _changes_nothing(op):
            replaced[op.output] = op.inputs[0]
            continue
        data = _evaluate(op, broadcast)
        if data is not None:
            assert data.shape == tuple(op.output.shape), (op.kind, data.shape, op.output.shape)
            name = next((value.name for value in op.inputs if value.name), "")
            replaced[op.output] = Value(
                op.output.shape, op.output.dtype, data.astype(op.output.dtype, copy=False), name
            )
            continue
        if op.kind == "broadcast_in_dim":
            broadcast[op.output] = op
        kept.append(op)
    program.ops = kept
    program.replace(replaced)
    program.remove_dead()


def _changes_nothing(op: Op) -> bool:
    if op.kind in ("reshape", "broadcast_in_dim"):
        return op.inputs[0].shape == op.output.shape
    if op.kind == "convert":
        return op.inputs[0].dtype == op.output.dtype
    if op.kind == "transpose":
        return tuple(op.attrs["permutation"]) == tuple(range(op.output.rank))
    return False


def _evaluate(op: Op, broadcast: dict[Value, Op]) -> np.ndarray | None:
    if len(op.outputs) != 1 or not static(op.output.shape):
        return None
    if op.kind == "reduce_window":
        return _reduce_window(op, broadcast)
    arrays = [value.data for value in op.inputs if value.data is not None]
    if not arrays or len(arrays) != len(op.inputs):
        return None
    x = arrays[0]
    match op.kind:
        case "reshape":
            return x.reshape(op.output.shape)
        case "transpose":
            return x.transpose(op.attrs["permutation"])
        case "convert":
            return x.astype(op.output.dtype)
        case "broadcast_in_dim":
            return _broadcast(x, op) if x.size == np.prod(op.output.shape) else None
        case "reduce":
            reducer = _REDUCERS.get(op.attrs["reducer"])
            neutral = is_neutral(op.attrs["reducer"], arrays[-1]) and len(arrays) == 2
            return reducer(x, axis=tuple(op.attrs["dimensions"])) if reducer and neutral else None
    if op.kind in _UNARY:
        return _UNARY[op.kind](x)
    if op.kind in _BINARY:
        return _BINARY[op.kind](*arrays)
    return None


def _broadcast(data: np.ndarray, op: Op) -> np.ndarray:
    shape = [1] * op.output.rank
    for axis, size in zip(op.attrs["broadcast_dimensions"], data.shape, strict=True):
        shape[axis] = size
    return np.broadcast_to(data.reshape(shape), op.output.shape)


def _reduce_window(op: Op, broadcast: dict[Value, Op]) -> np.ndarray | None:
    """A window reduction over a constant or a broadcast constant (the counts of an average pool)."""
    source, init = op.inputs
    data = source.data
    if data is None and (maker := broadcast.get(source)) is not None and maker.inputs[0].data is not None:
        data = _broadcast(maker.inputs[0].data, maker) if static(source.shape) else None
    attrs = op.attrs
    dilated = {*attrs.get("base_dilations", (1,)), *attrs.get("window_dilations", (1,))} != {1}
    if data is None or init.data is None or attrs["reducer"] not in _REDUCERS or dilated:
        return None
    padding = [tuple(int(n) for n in pair) for pair in attrs.get("padding", np.zeros((data.ndim, 2), int))]
    padded = np.pad(data, padding, constant_values=init.data)
    windows = np.lib.stride_tricks.sliding_window_view(padded, attrs["window_dimensions"])
    windows = windows[tuple(slice(None, None, s) for s in attrs.get("window_strides", (1,) * data.ndim))]
    return _REDUCERS[attrs["reducer"]](windows, axis=tuple(range(data.ndim, 2 * data.ndim)))
