"""Where the largest is: argmax, argmin, top-k and sorts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from export.lower.context import Context
from export.lower.graph import onnx_type
from export.lower.layout import identity, permute, reshape
from export.lower.program import Batch, Op, UnsupportedError, Value
from export.lower.reduce import without

_INT64 = np.dtype(np.int64)


def _argument(context: Context, op: Op) -> None:
    """The first of equal ones. Made by the pass `raise_orders` from a reduction of pairs (value, index)."""
    x, axis, graph = op.inputs[0], op.attrs["axis"], context.graph
    if x.rank == 1:
        _of_one_row(context, op, _argument)
        return
    perm = context.choose([x], x.rank)
    tensor, out = context.layouts.get(x, perm, op.where), without(perm, {axis})
    kind = "ArgMax" if op.kind == "argmax" else "ArgMin"
    if x.dtype == np.bool_:
        number = np.dtype(np.int32)
        tensor = graph.node("Cast", [tensor], tensor.shape, number, op.where, to=onnx_type(number))
    shape, attrs = permute(op.output.shape, out), {"axis": perm.index(axis), "keepdims": 0}
    if op.output.dtype == _INT64:
        context.emit(kind, op, [tensor], out, **attrs)
        return
    found = graph.node(kind, [tensor], shape, _INT64, op.where, **attrs)
    context.emit("Cast", op, [found], out, to=onnx_type(op.output.dtype))


def _top_k(context: Context, op: Op) -> None:
    """outputs: values, indices. `axis` (the last by default), `largest` (by default) and `k`."""
    x, graph, where = op.inputs[0], context.graph, op.where
    axis, k = op.attrs.get("axis", x.rank - 1), int(op.attrs["k"])
    if isinstance(x.shape[axis], Batch):
        raise UnsupportedError(where, "it sorts along the batch, which dynamic_batch cannot")
    if x.rank == 1:
        _of_one_row(context, op, _top_k)
        return
    values, indices = op.outputs
    perm = context.choose([x], x.rank)
    tensor = context.layouts.get(x, perm, where)
    shape = permute(values.shape, perm)
    largest = int(op.attrs.get("largest", True))
    attrs = {"axis": perm.index(axis), "largest": largest, "sorted": 1}
    results = [(shape, x.dtype), (shape, _INT64)]
    best, found = graph.nodes_out("TopK", [tensor, graph.ints(k)], results, where, **attrs)
    context.layouts.put(values, perm, best)
    if indices.dtype != _INT64:
        to = onnx_type(indices.dtype)
        found = graph.node("Cast", [found], shape, indices.dtype, where, to=to)
    context.layouts.put(indices, perm, found)


def _of_one_row(context: Context, op: Op, lower: Callable[[Context, Op], None]) -> None:
    """TensorRT sorts nothing of rank 1: as a matrix of one row."""
    x, layouts, graph = op.inputs[0], context.layouts, context.graph
    row = Value((1, *x.shape), x.dtype)
    layouts.put(row, (0, 1), reshape(graph, layouts.logical(x, op.where), row.shape, op.where))
    rows = [Value((1, *value.shape), value.dtype) for value in op.outputs]
    lower(context, Op(op.kind, [row], rows, {**op.attrs, "axis": 1}, op.where))
    for value, wide in zip(op.outputs, rows, strict=True):
        tensor = layouts.logical(wide, op.where)
        layouts.put(value, identity(value.rank), reshape(graph, tensor, value.shape, op.where))


def _take_along(context: Context, op: Op) -> None:
    """x[indices] along one axis, for each place of the others: what a sort does to its other operands."""
    x, indices = op.inputs
    perm = context.choose([x, indices], x.rank)
    inputs = [context.layouts.get(value, perm, op.where) for value in op.inputs]
    context.emit("GatherElements", op, inputs, perm, axis=perm.index(op.attrs["axis"]))


LOWERINGS = {"argmax": _argument, "argmin": _argument, "top_k": _top_k, "take_along": _take_along}
