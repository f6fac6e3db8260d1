"""Fold constants: whatever can be computed from weights and literals alone is computed now.

`broadcast_in_dim` of a weight is left alone (ONNX broadcasts by itself), so none is ever blown up, except
under a `reduce_window` of ones (the divisor of an average pool), which is small.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from export.lower.program import Op, Program, Value, static
from export.lower.reduce import is_neutral
from export.passes import evaluate, scatter

_REDUCERS: dict[str, Callable] = {
    "add": np.sum,
    "maximum": np.max,
    "minimum": np.min,
    "multiply": np.prod,
    "and": np.all,
    "or": np.any,
}


def fold_constants(program: Program) -> None:
    """Evaluate operations on constants, drop operations that change nothing, remove what is then unused."""
    replaced: dict[Value, Value] = {}
    broadcast: dict[Value, Op] = {}
    kept = []
    for op in program.ops:
        op.inputs = [replaced.get(value, value) for value in op.inputs]
        same = _unchanged(op)
        if same is not None:
            replaced[op.output] = same
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


def _unchanged(op: Op) -> Value | None:
    """The operand that the operation hands on as it is."""
    x = op.inputs[0] if op.inputs else None
    if x is None:
        return None
    if op.kind in ("reshape", "broadcast_in_dim") and x.shape == op.output.shape:
        return x
    if op.kind == "convert" and x.dtype == op.output.dtype:
        return x
    if op.kind == "concatenate":  # jnp.pad also pads by nothing
        dimension = op.attrs["dimension"]
        op.inputs = [value for value in op.inputs if value.shape[dimension] != 0] or op.inputs[:1]
        return op.inputs[0] if len(op.inputs) == 1 else None
    if op.kind == "transpose" and tuple(op.attrs["permutation"]) == tuple(range(op.output.rank)):
        return x
    if op.kind == "select" and x.data is not None and x.data.size:
        chosen = op.inputs[1] if x.data.all() else op.inputs[2] if not x.data.any() else None
        return chosen if chosen is not None and chosen.shape == op.output.shape else None
    return None


def evaluate_operation(op: Op) -> np.ndarray | None:
    """The result of an operation whose operands are all constant; None if it has no NumPy form here."""
    return _evaluate(op, {})


def _evaluate(op: Op, broadcast: dict[Value, Op]) -> np.ndarray | None:
    if len(op.outputs) != 1 or not static(op.output.shape):
        return None
    if op.kind == "iota":
        return evaluate.iota(op)
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
            with np.errstate(over="ignore"):  # float16 may overflow; export.precision finds it and says where
                return x.astype(op.output.dtype)
        case "broadcast_in_dim":
            # vectors, indices and masks are small, and what they are for can then be computed too
            small = x.dtype.kind in "iub" or op.output.rank == 1 or x.size == np.prod(op.output.shape)
            return _broadcast(x, op) if small else None
        case "reduce":
            reducer = _REDUCERS.get(op.attrs["reducer"])
            neutral = _neutral(op.attrs["reducer"], arrays[-1]) and len(arrays) == 2
            return reducer(x, axis=tuple(op.attrs["dimensions"])) if reducer and neutral else None
        case "concatenate":
            return np.concatenate(arrays, op.attrs["dimension"])
        case "compare":
            return evaluate.compare(op, *arrays)
        case "slice":
            return evaluate.cut(op, x)
        case "pad":
            return evaluate.pad(op, *arrays)
        case "dynamic_slice":
            return evaluate.dynamic_slice(op, *arrays)
        case "scatter":
            return scatter.evaluate(op)
        case "gather":
            return evaluate.gather(op, *arrays)
        case "dot_general":
            return evaluate.dot_general(op, *arrays)
        case "reverse":
            return np.flip(x, tuple(op.attrs["dimensions"]))
    return evaluate.ELEMENTWISE[op.kind](*arrays) if op.kind in evaluate.ELEMENTWISE else None


def _neutral(reducer: str, init: np.ndarray) -> bool:
    if reducer in ("and", "or"):
        return init.dtype == np.bool_ and bool(init.reshape(())) == (reducer == "and")
    return is_neutral(reducer, init)


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
