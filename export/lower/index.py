"""gather: look-ups in tables, x[:, indices], x[:, i, j], windows cut out at given places, take_along_axis."""

from __future__ import annotations

import numpy as np

from export.lower.context import Context
from export.lower.graph import Tensor, onnx_type
from export.lower.layout import identity, permute, reshape
from export.lower.program import Batch, Op, UnsupportedError, Value

INDEX = np.dtype(np.int64)


def _gather(context: Context, op: Op) -> None:
    x, starts = op.inputs
    numbers, sizes = op.attrs["dimension_numbers"], op.attrs["slice_sizes"]
    axes = tuple(numbers["start_index_map"])
    if any(isinstance(x.shape[axis], Batch) for axis in axes):
        raise UnsupportedError(op.where, "it picks from the batch, which dynamic_batch cannot")
    others = [axis for axis in range(x.rank) if axis not in (*axes, *numbers["operand_batching_dims"])]
    if any(sizes[axis] != x.shape[axis] for axis in others):
        x = _trimmed(context, op, x, others)
    if numbers["operand_batching_dims"]:
        _batched(context, op, x, starts)
    elif len(axes) == 1 and sizes[axes[0]] == 1 and tuple(numbers["collapsed_slice_dims"]) == axes:
        _along_axis(context, op, x, starts)
    else:
        _along_several(context, op, x, starts)


def _trimmed(context: Context, op: Op, x: Value, axes: list[int]) -> Value:
    """Slices that start at 0 but do not reach to the end of an axis that is not indexed."""
    sizes = op.attrs["slice_sizes"]
    cut = [axis for axis in axes if sizes[axis] != x.shape[axis]]
    small = Value(tuple(sizes[a] if a in cut else size for a, size in enumerate(x.shape)), x.dtype)
    if x.data is not None:
        small.data = x.data[tuple(slice(0, int(size)) for size in small.shape)]
        return small
    ints, tensor = context.graph.ints, context.layouts.logical(x, op.where)
    bounds = (ints(*[0] * len(cut)), ints(*(int(sizes[a]) for a in cut)), ints(*cut))
    made = context.graph.node("Slice", [tensor, *bounds], small.shape, x.dtype, op.where)
    context.layouts.put(small, identity(x.rank), made)
    return small


def _along_axis(context: Context, op: Op, x: Value, starts: Value) -> None:
    """Whole slices along one axis, picked by an array of indices: x[:, indices]."""
    numbers, out = op.attrs["dimension_numbers"], op.output
    axis = numbers["start_index_map"][0]
    vector, offset = numbers["index_vector_dim"], set(numbers["offset_dims"])
    shape = tuple(n for place, n in enumerate(starts.shape) if place != vector)
    indices = _clipped(context, op, starts, int(x.shape[axis]) - 1, shape)
    # Gather puts the axes of the indices where the axis was
    result = [a for a in range(out.rank) if a not in offset]
    kept = iter(sorted(offset))
    order = [place for a in range(x.rank) for place in (result if a == axis else [next(kept)])]
    tensor = context.layouts.logical(x, op.where)
    context.emit("Gather", op, [tensor, indices], tuple(order), axis=axis)


def _clipped(context: Context, op: Op, starts: Value, last: int, shape: tuple[int, ...]) -> Tensor:
    """Indices, moved to the border where they lie outside, as StableHLO says."""
    if starts.data is not None:
        picked = np.clip(starts.data.astype(INDEX), 0, last).reshape(shape)
        return context.graph.constant(picked)
    index = context.layouts.logical(starts, op.where)
    if index.dtype not in (np.int32, np.int64):
        index = context.graph.node("Cast", [index], index.shape, INDEX, op.where, to=onnx_type(INDEX))
    low, high = (context.graph.constant(np.array(n, index.dtype)) for n in (0, last))
    index = context.graph.node("Clip", [index, low, high], index.shape, index.dtype, op.where)
    return reshape(context.graph, index, shape, op.where)


def _vectors_last(context: Context, op: Op, starts: Value) -> Value:
    """The index vectors along the last dimension, also where they are single numbers without one."""
    vector = op.attrs["dimension_numbers"]["index_vector_dim"]
    if vector == starts.rank - 1:
        return starts
    if vector == starts.rank:
        moved = Value((*starts.shape, 1), starts.dtype)
        if starts.data is not None:
            moved.data = starts.data[..., None]
        else:
            tensor = context.layouts.logical(starts, op.where)
            made = reshape(context.graph, tensor, moved.shape, op.where)
            context.layouts.put(moved, identity(moved.rank), made)
        return moved
    perm = (*(axis for axis in range(starts.rank) if axis != vector), vector)
    moved = Value(permute(starts.shape, perm), starts.dtype)
    if starts.data is not None:
        moved.data = starts.data.transpose(perm)
    else:
        tensor = context.layouts.get(starts, perm, op.where)
        context.layouts.put(moved, identity(moved.rank), tensor)
    return moved


def _positions(context: Context, op: Op, starts: Value, limits: list[int], steps: list[int]) -> Tensor:
    """Index vectors (..., k), each number clipped to its limit, as one number: their sum weighted by
    `steps`."""
    graph, where = context.graph, op.where
    if starts.data is not None:
        picked = np.clip(starts.data.astype(INDEX), 0, np.array(limits, INDEX))
        return graph.constant((picked * np.array(steps, INDEX)).sum(-1))
    index = context.layouts.logical(starts, where)
    index = graph.node("Cast", [index], index.shape, INDEX, where, to=onnx_type(INDEX))
    zero, last = graph.constant(np.array(0, INDEX)), graph.constant(np.array(limits, INDEX))
    index = graph.node("Max", [index, zero], index.shape, INDEX, where)
    index = graph.node("Min", [index, last], index.shape, INDEX, where)
    if steps == [1]:
        return reshape(graph, index, index.shape[:-1], where)
    weights = graph.constant(np.array(steps, INDEX))
    index = graph.node("Mul", [index, weights], index.shape, INDEX, where)
    return graph.node("ReduceSum", [index, graph.ints(-1)], index.shape[:-1], INDEX, where, keepdims=0)


def _window(sizes: list[int], steps: list[int]) -> np.ndarray:
    """The places of a slice's elements, counted from its first one."""
    grid = np.indices(sizes, dtype=INDEX)
    return (grid * np.array(steps, INDEX).reshape(-1, *[1] * len(sizes))).sum(0)


def _strides(sizes: list[int]) -> list[int]:
    return [int(np.prod(sizes[place + 1 :], dtype=int)) for place in range(len(sizes))]


def _along_several(context: Context, op: Op, x: Value, starts: Value) -> None:
    """Several axes are indexed, or runs are cut out of one: those axes are merged, and one Gather picks the
    elements along them."""
    graph, numbers, sizes = context.graph, op.attrs["dimension_numbers"], op.attrs["slice_sizes"]
    axes = sorted(numbers["start_index_map"])
    places = [list(numbers["start_index_map"]).index(axis) for axis in axes]
    starts = _vectors_last(context, op, starts)
    if places != list(range(len(axes))):
        raise UnsupportedError(op.where, "its indices name the axes in another order than they stand in")
    counts = [int(x.shape[axis]) for axis in axes]
    runs = [int(sizes[axis]) for axis in axes]
    steps = _strides(counts)
    limits = [count - run for count, run in zip(counts, runs, strict=True)]
    index = _positions(context, op, starts, limits, steps)
    batch = index.shape
    if set(runs) != {1}:
        index = _reshaped(context, op, index, (*batch, *[1] * len(runs)))
        index = _added(context, op, index, _window(runs, steps), (*batch, *runs))
    else:
        index = _reshaped(context, op, index, (*batch, *runs))
    others = [axis for axis in range(x.rank) if axis not in axes]
    before = [axis for axis in others if axis < axes[0]]
    perm = (*before, *axes, *(axis for axis in others if axis > axes[0]))
    tensor = context.layouts.get(x, perm, op.where)
    shape, first = tensor.shape, len(before)
    merged = (*shape[:first], int(np.prod(counts)), *shape[first + len(axes) :])
    tensor = reshape(graph, tensor, merged, op.where)
    picked = (*merged[:first], *index.shape, *merged[first + 1 :])
    result = graph.node("Gather", [tensor, index], picked, x.dtype, op.where, axis=first)
    _name_dimensions(context, op, result, before, axes, len(batch), others)


def _constant(context: Context, tensor: Tensor) -> bool:
    return tensor.name in context.graph.initializers


def _name_dimensions(
    context: Context,
    op: Op,
    result: Tensor,
    before: list[int],
    axes: list[int],
    batch: int,
    others: list[int],
) -> None:
    """`result` is (axes before, index dimensions, slice dimensions, axes behind): say which dimension of the
    output each is, and drop the collapsed ones."""
    numbers, out = op.attrs["dimension_numbers"], op.output
    collapsed = {*numbers["collapsed_slice_dims"], *numbers["operand_batching_dims"]}
    kept = [axis for axis in sorted((*axes, *others)) if axis not in collapsed]
    place = dict(zip(kept, sorted(numbers["offset_dims"]), strict=True))
    loose = [dim for dim in range(out.rank) if dim not in numbers["offset_dims"]]
    behind = [axis for axis in others if axis not in before]
    perm = [place[axis] for axis in before] + loose[:batch]
    perm += [place[axis] for axis in (*axes, *behind) if axis in place]
    tensor = reshape(context.graph, result, permute(out.shape, tuple(perm)), op.where)
    context.layouts.put(out, tuple(perm), tensor)


def _batched(context: Context, op: Op, x: Value, starts: Value) -> None:
    """Every element of the batch has indices of its own: take_along_axis is GatherElements, the rest GatherND
    on the batch dimensions and the merged indexed ones."""
    graph, numbers, sizes, where = (
        context.graph,
        op.attrs["dimension_numbers"],
        op.attrs["slice_sizes"],
        op.where,
    )
    pairs = list(zip(numbers["operand_batching_dims"], numbers["start_indices_batching_dims"], strict=True))
    axes = list(numbers["start_index_map"])
    if axes != sorted(axes):
        raise UnsupportedError(where, "its indices name the axes in another order than they stand in")
    vector = numbers["index_vector_dim"]
    starts = _vectors_last(context, op, starts)
    pairs = [(axis, dim - (dim > vector)) for axis, dim in pairs]
    shared = [axis for axis, _ in pairs]
    loose = [dim for dim in range(starts.rank - 1) if dim not in [dim for _, dim in pairs]]
    order = tuple([dim for _, dim in pairs] + loose)
    counts, runs = ([int(n[axis]) for axis in axes] for n in (x.shape, sizes))
    steps = _strides(counts)
    index = _positions(context, op, starts, [n - run for n, run in zip(counts, runs, strict=True)], steps)
    if order != tuple(range(len(order))):
        shape = permute(index.shape, order)
        if _constant(context, index):
            index = graph.constant(graph.initializers[index.name].transpose(order))
        else:
            index = graph.node("Transpose", [index], shape, INDEX, where, perm=list(order))
    lead, many = index.shape[: len(pairs)], index.shape[len(pairs) :]
    count, run = int(np.prod(many, dtype=int)), int(np.prod(runs, dtype=int))
    if run > 1:
        index = _reshaped(context, op, index, (*lead, count, 1))
        index = _added(context, op, index, _window(runs, steps).reshape(-1), (*lead, count, run))
    rest = [axis for axis in range(x.rank) if axis not in (*shared, *axes)]
    tensor = context.layouts.get(x, (*shared, *axes, *rest), where)
    others = tensor.shape[len(shared) + len(axes) :]
    tensor = reshape(graph, tensor, (*lead, int(np.prod(counts, dtype=int)), *others), where)
    if not rest:
        index = _reshaped(context, op, index, (*lead, count * run))
        picked = graph.node("GatherElements", [tensor, index], index.shape, x.dtype, where, axis=len(lead))
    else:
        index = _reshaped(context, op, index, (*lead, count * run, 1))
        shape = (*lead, count * run, *others)
        picked = graph.node("GatherND", [tensor, index], shape, x.dtype, where, batch_dims=len(lead))
    # (batch, loose index dimensions, slices, rest) -> the dimensions of the output
    out, offset = op.output, sorted(numbers["offset_dims"])
    collapsed = {*numbers["collapsed_slice_dims"], *shared}
    kept = [axis for axis in range(x.rank) if axis not in collapsed]
    place = dict(zip(kept, offset, strict=True))
    free = [dim for dim in range(out.rank) if dim not in offset]
    perm = [free[dim] for dim in order] + [place[axis] for axis in (*axes, *rest) if axis in place]
    made = reshape(graph, picked, permute(out.shape, tuple(perm)), where)
    context.layouts.put(out, tuple(perm), made)


def _reshaped(context: Context, op: Op, tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    if _constant(context, tensor):
        return context.graph.constant(context.graph.initializers[tensor.name].reshape(shape))
    return reshape(context.graph, tensor, shape, op.where)


def _added(context: Context, op: Op, index: Tensor, window: np.ndarray, shape: tuple[int, ...]) -> Tensor:
    """The places of a slice's elements, from that of its first one."""
    graph = context.graph
    if _constant(context, index):
        return graph.constant(graph.initializers[index.name] + window)
    return graph.node("Add", [index, graph.constant(window)], shape, INDEX, op.where)


LOWERINGS = {"gather": _gather}
