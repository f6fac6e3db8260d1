"""Operations that move or pick elements: reshape, transpose, broadcast, concatenate, slice, reverse,
iota."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from export.lower.context import Context
from export.lower.graph import Tensor
from export.lower.layout import carry, identity, permute, reshape
from export.lower.program import Batch, Op, UnsupportedError, static


def _reshape(context: Context, op: Op) -> None:
    """Carried through in every layout that allows it; only if none does, in the logical order."""
    x, out = op.inputs[0], op.output
    done = False
    for perm in context.layouts.perms(x):
        carried = carry(perm, x.shape, out.shape)
        if carried is not None and not done:
            tensor = context.layouts.get(x, perm, op.where)
            context.layouts.put(
                out, carried, reshape(context.graph, tensor, permute(out.shape, carried), op.where)
            )
            done = True
    if not done:
        tensor = context.layouts.logical(x, op.where)
        context.layouts.put(out, identity(out.rank), reshape(context.graph, tensor, out.shape, op.where))


def _transpose(context: Context, op: Op) -> None:
    """No node: the same tensors, under another layout."""
    order = op.attrs["permutation"]
    for perm in context.layouts.perms(op.inputs[0]):
        tensor = context.layouts.get(op.inputs[0], perm, op.where)
        context.layouts.put(op.output, tuple(order.index(axis) for axis in perm), tensor)


def _broadcast(context: Context, op: Op) -> None:
    """Only what element-wise operations could not absorb comes here."""
    x, out = op.inputs[0], op.output
    axes = op.attrs["broadcast_dimensions"]
    shape = [1] * out.rank
    for axis, size in zip(axes, x.shape, strict=True):
        shape[axis] = size
    if x.data is not None:
        tensor = context.graph.constant(x.data.reshape(shape), x.name)
    else:
        tensor = reshape(context.graph, context.layouts.logical(x, op.where), tuple(shape), op.where)
    if tuple(shape) == tuple(out.shape):
        context.layouts.put(out, identity(out.rank), tensor)
        return
    if not static(out.shape):
        followed = [
            isinstance(a, Batch) and not isinstance(b, Batch) for a, b in zip(out.shape, shape, strict=True)
        ]
        if any(followed):
            context.emit("Expand", op, [tensor, _open_shape(context, op)], identity(out.rank))
            return
    # Expand keeps a dimension where the target says 1, so a batch dimension that is there already stays
    # symbolic
    wanted = [1 if isinstance(dim, Batch) else int(dim) for dim in out.shape]
    context.emit("Expand", op, [tensor, context.graph.ints(*wanted)], identity(out.rank))


def _open_shape(context: Context, op: Op) -> Tensor:
    """The shape of the result as a tensor, its batch read from a graph input."""
    graph, where, count = context.graph, op.where, np.dtype(np.int64)
    source, axis = next(
        (tensor, axis)
        for tensor in graph.inputs
        for axis, dim in enumerate(tensor.shape)
        if isinstance(dim, Batch) and dim.scale == 1
    )
    parts, fixed = [], []
    for dim in (*op.output.shape, None):
        if dim is not None and not isinstance(dim, Batch):
            fixed.append(int(dim))
            continue
        if fixed:
            parts.append(graph.ints(*fixed))
            fixed = []
        if dim is not None:
            batch = graph.node("Shape", [source], (1,), count, where, start=axis, end=axis + 1)
            if dim.scale != 1:
                batch = graph.node("Mul", [batch, graph.ints(dim.scale)], (1,), count, where)
            parts.append(batch)
    if len(parts) == 1:
        return parts[0]
    return graph.node("Concat", parts, (op.output.rank,), count, where, axis=0)


def _concatenate(context: Context, op: Op) -> None:
    perm = context.choose(op.inputs, op.output.rank)
    tensors = [context.layouts.get(value, perm, op.where) for value in op.inputs]
    context.emit("Concat", op, tensors, perm, axis=perm.index(op.attrs["dimension"]))


def _slice(context: Context, op: Op) -> None:
    x = op.inputs[0]
    perm = context.choose([x], x.rank)
    keys = ("start_indices", "limit_indices", "strides")
    rows = zip(*(op.attrs[key] for key in keys), range(x.rank), x.shape, strict=True)
    cuts = [
        (start, stop, step, axis)
        for start, stop, step, axis, size in rows
        if (start, stop, step) != (0, size, 1)
    ]
    if any(isinstance(x.shape[cut[3]], Batch) for cut in cuts):
        raise UnsupportedError(op.where, "it slices the batch dimension, which dynamic_batch cannot")
    starts, stops, steps, axes = zip(*((a, b, c, perm.index(axis)) for a, b, c, axis in cuts), strict=True)
    tensor = context.layouts.get(x, perm, op.where)
    ints = context.graph.ints
    context.emit("Slice", op, [tensor, ints(*starts), ints(*stops), ints(*axes), ints(*steps)], perm)


def _reverse(context: Context, op: Op) -> None:
    x, axes = op.inputs[0], op.attrs["dimensions"]
    if any(isinstance(x.shape[axis], Batch) for axis in axes):
        raise UnsupportedError(op.where, "it reverses the batch, which dynamic_batch cannot")
    perm = context.choose([x], x.rank)
    ints, last = context.graph.ints, np.iinfo(np.int64)
    ends = ints(*[-1] * len(axes)), ints(*[last.min + 1] * len(axes)), ints(*(perm.index(a) for a in axes))
    steps = ints(*[-1] * len(axes))
    context.emit("Slice", op, [context.layouts.get(x, perm, op.where), *ends, steps], perm)


def _iota(context: Context, op: Op) -> None:
    """A constant: StableHLO's iota has a static shape."""
    if not static(op.output.shape):
        raise UnsupportedError(op.where, "it counts along the batch, which dynamic_batch cannot")
    axis, out = op.attrs["iota_dimension"], op.output
    shape = [-1 if i == axis else 1 for i in range(out.rank)]
    data = np.broadcast_to(np.arange(out.shape[axis]).reshape(shape), out.shape).astype(out.dtype)
    context.layouts.put(out, identity(out.rank), context.graph.constant(data))


def _dynamic_slice(context: Context, op: Op) -> None:
    """With constant starts a slice."""
    x, starts, sizes = op.inputs[0], op.inputs[1:], op.attrs["slice_sizes"]
    moving = [a for a, start in enumerate(starts) if start.data is None and sizes[a] != x.shape[a]]
    first = tuple(
        0 if start.data is None else max(0, min(int(np.asarray(start.data)), n - k))
        for start, n, k in zip(starts, x.shape, sizes, strict=True)
    )
    if moving:
        _slice_anywhere(context, op, first, moving)
        return
    attrs = {
        "start_indices": first,
        "limit_indices": tuple(
            n if s == 0 and k == n else s + k for s, k, n in zip(first, sizes, x.shape, strict=True)
        ),
        "strides": (1,) * x.rank,
    }
    _slice(context, Op("slice", [x], op.outputs, attrs, op.where))


def _slice_anywhere(context: Context, op: Op, first: Sequence[int], moving: Sequence[int]) -> None:
    """Along the axes `moving` a Gather of the places from a computed start on: runtimes want the starts of a
    Slice on the host, and take the indices of a Gather from anywhere."""
    x, starts, sizes, graph = op.inputs[0], op.inputs[1:], op.attrs["slice_sizes"], context.graph
    if any(isinstance(x.shape[axis], Batch) for axis in moving):
        raise UnsupportedError(
            op.where, "it slices the batch at a place that is only known when it runs: dynamic_batch cannot"
        )
    perm = context.choose([x], x.rank)
    tensor, shape = context.layouts.get(x, perm, op.where), list(x.shape)
    for axis, size in enumerate(sizes):
        if size == x.shape[axis]:
            continue
        if axis in moving:
            start = context.layouts.logical(starts[axis], op.where)
            for kind, bound in (("Max", 0), ("Min", x.shape[axis] - size)):  # StableHLO moves it inside
                limit = graph.constant(np.array(bound, start.dtype))
                start = graph.node(kind, [start, limit], (), start.dtype, op.where)
            steps = graph.constant(np.arange(size, dtype=start.dtype))
            places = graph.node("Add", [start, steps], (size,), start.dtype, op.where)
        else:
            places = graph.constant(np.arange(first[axis], first[axis] + size))
        shape[axis], at = size, perm.index(axis)
        cut = permute(tuple(shape), perm)
        tensor = graph.node("Gather", [tensor, places], cut, x.dtype, op.where, axis=at)
    context.layouts.put(op.output, perm, tensor)


def _split(context: Context, op: Op) -> None:
    """Equal parts along one axis; `perm` is the layout in which to cut, if a pass asked for one."""
    x, axis = op.inputs[0], op.attrs["axis"]
    perm = op.attrs.get("perm") or context.choose([x], x.rank)
    tensor = context.layouts.get(x, perm, op.where)
    results = [(permute(value.shape, perm), value.dtype) for value in op.outputs]
    attrs = {"axis": perm.index(axis), "num_outputs": len(results)}
    for value, part in zip(
        op.outputs, context.graph.nodes_out("Split", [tensor], results, op.where, **attrs), strict=True
    ):
        context.layouts.put(value, perm, part)


def _layout(context: Context, op: Op) -> None:
    """The same value, in one layout only, so that what follows is built on that one.

    With `written` there is a Transpose even if it only moves dimensions of size 1.
    """
    perm = op.attrs["perm"]
    if op.attrs.get("written"):
        tensor = context.layouts.logical(op.inputs[0], op.where)
        shape, moved = permute(op.output.shape, perm), list(perm)
        moved = context.graph.node("Transpose", [tensor], shape, tensor.dtype, op.where, perm=moved)
        context.layouts.put(op.output, perm, moved)
        return
    context.layouts.put(op.output, perm, context.layouts.get(op.inputs[0], perm, op.where))


LOWERINGS = {
    "split": _split,
    "layout": _layout,
    "reshape": _reshape,
    "transpose": _transpose,
    "broadcast_in_dim": _broadcast,
    "concatenate": _concatenate,
    "slice": _slice,
    "dynamic_slice": _dynamic_slice,
    "reverse": _reverse,
    "iota": _iota,
}
