"""Window reductions: pools, running sums, and every other one from shifted slices of the input."""

from __future__ import annotations

import numpy as np

from export.lower.context import Context
from export.lower.elementwise import SIMPLE
from export.lower.graph import Tensor
from export.lower.layout import permute
from export.lower.padding import pad_tensor
from export.lower.program import Batch, Op, UnsupportedError, Value
from export.lower.reduce import NEUTRAL, is_neutral, pool

# reducers that give the same if an element is counted twice
_IDEMPOTENT = ("maximum", "minimum", "and", "or")
# up to this window one slice per element is fewer nodes than doubling
_SHORT = 4


def _reduce_window(context: Context, op: Op) -> None:
    reducer = op.attrs["reducer"]
    if len(op.outputs) != 1 or reducer not in (*NEUTRAL, "and", "or"):
        raise UnsupportedError(
            op.where, f"a window reduction by '{reducer or 'a custom function'}' has no ONNX form here"
        )
    x, start = op.inputs
    if (reducer in ("and", "or")) != (x.dtype == np.bool_):
        raise UnsupportedError(op.where, f"a window reduction of {x.dtype} by '{reducer}'")
    if start.data is None:
        raise UnsupportedError(op.where, "a window reduction that starts from a computed value")
    if not _starts_neutral(reducer, start.data):
        inner = Op(op.kind, [x, _neutral(reducer, x.dtype)], [Value(op.output.shape, x.dtype)], op.attrs)
        inner.where = op.where
        _reduce_window(context, inner)
        perm = context.layouts.perms(inner.output)[0]
        reduced = context.layouts.get(inner.output, perm, op.where)
        first = context.graph.constant(np.asarray(start.data).reshape(()))
        context.emit(SIMPLE[reducer], op, [reduced, first], perm)
        return
    if (running := _running(op)) is not None and reducer == "add":
        _cumulative_sum(context, op, *running)
    elif x.dtype.kind == "f" and reducer in ("add", "maximum", "minimum") and _pools(op):
        _pool(context, op)
    else:
        _by_slices(context, op)


def _starts_neutral(reducer: str, start: np.ndarray) -> bool:
    if reducer in ("and", "or"):
        return bool(start.reshape(())) == (reducer == "and")
    return is_neutral(reducer, start)


def _neutral(reducer: str, dtype: np.dtype) -> Value:
    """The value that changes no result of this reduction."""
    if reducer in ("and", "or"):
        return Value((), dtype, np.array(reducer == "and"))
    number = NEUTRAL[reducer]
    if dtype.kind in "iu" and np.isinf(number):
        number = np.iinfo(dtype).min if number < 0 else np.iinfo(dtype).max
    return Value((), dtype, np.array(number).astype(dtype))


def _running(op: Op) -> tuple[int, bool] | None:
    """(axis, reverse) if the window is all that came before: a running sum (jnp.cumsum)."""
    attrs, x = op.attrs, op.inputs[0]
    ones = (1,) * x.rank
    if any(set(attrs.get(key, (1,))) != {1} for key in ("window_strides", *_DILATIONS)):
        return None
    padding = np.asarray(attrs.get("padding", np.zeros((x.rank, 2))), int)
    axes = [axis for axis in range(x.rank) if attrs["window_dimensions"][axis] != ones[axis]]
    if len(axes) != 1 or isinstance(x.shape[axes[0]], Batch):
        return None
    axis, before = axes[0], int(x.shape[axes[0]]) - 1
    if attrs["window_dimensions"][axis] != before + 1 or np.delete(padding, axis, 0).any():
        return None
    return {(before, 0): (axis, False), (0, before): (axis, True)}.get(tuple(padding[axis].tolist()))


_DILATIONS = ("base_dilations", "window_dilations")


def _cumulative_sum(context: Context, op: Op, axis: int, reverse: bool) -> None:
    x = op.inputs[0]
    perm = context.choose([x], x.rank)
    place = context.graph.constant(np.array(perm.index(axis), np.int64))
    inputs = [context.layouts.get(x, perm, op.where), place]
    context.emit("CumSum", op, inputs, perm, reverse=int(reverse))


def _pools(op: Op) -> bool:
    """True if ONNX pools slide so: over all dimensions but two, and over the input as it is."""
    attrs, x = op.attrs, op.inputs[0]
    padding = np.asarray(attrs.get("padding", np.zeros((x.rank, 2))), int)
    strides = attrs.get("window_strides", (1,) * x.rank)
    rows = zip(attrs["window_dimensions"], strides, padding.tolist(), strict=True)
    slid = [axis for axis, row in enumerate(rows) if row != (1, 1, [0, 0])]
    dilated = set(attrs.get("window_dilations", (1,))) != {1}
    if op.attrs["reducer"] == "add" and dilated:
        return False
    return 1 <= len(slid) <= x.rank - 2 <= 3


def _pool(context: Context, op: Op) -> None:
    """Pads that a pool does not take (negative ones, or as wide as the window) come before it."""
    attrs, (x, start) = op.attrs, op.inputs
    window = np.array(attrs["window_dimensions"])
    padding = np.asarray(attrs.get("padding", np.zeros((x.rank, 2))), int)
    gaps = np.array(attrs.get("base_dilations", (1,) * x.rank)) - 1
    if gaps.any() or (padding < 0).any() or (padding.max(1) >= window)[padding.any(1)].any():
        assert start.data is not None
        perm = context.choose([x], x.rank)
        low, high, between = (permute(tuple(n), perm) for n in (*padding.T.tolist(), gaps.tolist()))
        tensor = context.layouts.get(x, perm, op.where)
        fill = np.asarray(start.data).reshape(())
        padded = pad_tensor(context.graph, tensor, low, high, between, fill, op.where)
        inverse = tuple(perm.index(axis) for axis in range(x.rank))
        x = Value(permute(padded.shape, inverse), x.dtype)
        context.layouts.put(x, perm, padded)
        attrs = {**attrs, "padding": np.zeros((x.rank, 2), int), "base_dilations": (1,) * x.rank}
    if attrs["reducer"] == "minimum":
        x = _negated(context, x, op)
    largest = Value(op.output.shape, x.dtype)
    inner = Op(op.kind, [x, start], [largest], attrs, op.where)
    if attrs["reducer"] == "add":
        _sum_pool(context, inner)
    else:
        pool(context, inner, "MaxPool")
    if attrs["reducer"] == "minimum":
        largest = _negated(context, largest, op)
    for perm in context.layouts.perms(largest):
        context.layouts.put(op.output, perm, context.layouts.get(largest, perm, op.where))


def _negated(context: Context, x: Value, op: Op) -> Value:
    negative = Value(x.shape, x.dtype)
    perm = context.choose([x], x.rank)
    context.emit(
        "Neg", Op("negate", [x], [negative], {}, op.where), [context.layouts.get(x, perm, op.where)], perm
    )
    return negative


def _sum_pool(context: Context, op: Op) -> None:
    """A window sum is the average that counts the padding, times the size of the window."""
    mean = Value(op.output.shape, op.output.dtype)
    inner = Op("average_pool", op.inputs[:1], [mean], op.attrs, op.where)
    pool(context, inner, "AveragePool", count_include_pad=1)
    perm = context.layouts.perms(mean)[0]
    size = np.array(np.prod(op.attrs["window_dimensions"]), op.output.dtype)
    context.emit("Mul", op, [context.layouts.get(mean, perm, op.where), context.graph.constant(size)], perm)


def _by_slices(context: Context, op: Op) -> None:
    """The padded input combined with itself, shifted: one axis after another."""
    attrs, (x, start) = op.attrs, op.inputs
    assert start.data is not None
    perm = context.choose([x], x.rank)
    ones = (1,) * x.rank
    window, strides, steps, gaps = (
        permute(tuple(attrs.get(key, ones)), perm)
        for key in ("window_dimensions", "window_strides", "window_dilations", "base_dilations")
    )
    padding = np.asarray(attrs.get("padding", np.zeros((x.rank, 2))), int)
    low, high = (permute(tuple(padding[:, side].tolist()), perm) for side in (0, 1))
    tensor = context.layouts.get(x, perm, op.where)
    fill = np.asarray(start.data).reshape(())
    tensor = pad_tensor(context.graph, tensor, low, high, [gap - 1 for gap in gaps], fill, op.where)
    for axis in range(x.rank):
        if (window[axis], strides[axis]) != (1, 1):
            if isinstance(tensor.shape[axis], Batch):
                raise UnsupportedError(op.where, "its windows slide over the batch")
            tensor = _slide(context, op, tensor, axis, window[axis], strides[axis], steps[axis])
    context.layouts.put(op.output, perm, tensor)


def _slide(context: Context, op: Op, x: Tensor, axis: int, window: int, stride: int, step: int) -> Tensor:
    graph, reducer = context.graph, op.attrs["reducer"]

    def cut(tensor: Tensor, first: int, count: int, every: int = 1) -> Tensor:
        if (first, count, every) == (0, int(tensor.shape[axis]), 1):
            return tensor
        shape = (*tensor.shape[:axis], count, *tensor.shape[axis + 1 :])
        bounds = (first, first + (count - 1) * every + 1, axis, every)
        return graph.node("Slice", [tensor, *map(graph.ints, bounds)], shape, x.dtype, op.where)

    def join(a: Tensor, b: Tensor) -> Tensor:
        return graph.node(SIMPLE[reducer], [a, b], a.shape, x.dtype, op.where)

    span = (window - 1) * step + 1
    results = (int(x.shape[axis]) - span) // stride + 1
    if window <= _SHORT:
        total = cut(x, 0, results, stride)
        for place in range(1, window):
            total = join(total, cut(x, place * step, results, stride))
        return total

    def combined(a: Tensor, b: Tensor, shift: int, size: int) -> Tensor:
        """Windows of `size` elements: those of `a` and, from their element `shift` on, those of `b`."""
        count = int(x.shape[axis]) - (size - 1) * step
        return join(cut(a, 0, count), cut(b, shift * step, count))

    powers, size = [x], 1  # windows of 1, 2, 4, ... elements
    while 2 * size <= window:
        powers.append(combined(powers[-1], powers[-1], size, 2 * size))
        size *= 2
    total = powers[-1]
    if size < window and reducer in _IDEMPOTENT:
        total, size = combined(total, total, window - size, window), window
    for power in range(len(powers) - 2, -1, -1):
        if size + 2**power <= window:
            total, size = combined(total, powers[power], size, size + 2**power), size + 2**power
    return cut(total, 0, results, stride)


LOWERINGS = {"reduce_window": _reduce_window}
