"""Scatters with constant indices (x.at[:, 2].set(...), x.at[rows].add(...)) -> what runtimes are good at.

set, and add, multiply, max, min at distinct places    select(places, f(x, the updates spread out), x)
add at places that repeat                              x + updates @ one-hot matrix
dynamic_update_slice with constant starts              the same; a run of them that fills an axis: concatenate

The updates are spread out by a gather with constant indices, by a pad if they go to one block, or not at all
if they are one number.
"""

from __future__ import annotations

import math

import numpy as np

from export.lower.program import Batch, Matcher, Op, Program, UnsupportedError, Value, constant
from export.passes.draft import Draft

_UFUNC = {
    "second": np.positive,
    "add": np.add,
    "multiply": np.multiply,
    "maximum": np.maximum,
    "minimum": np.minimum,
}


def spread_scatters(program: Program) -> None:
    """Rewrite scatters.

    Raises:
      UnsupportedError: computed indices, a scatter along the batch, or one that repeats a place and does not
        add.
    """
    _join_updates(program)
    match = Matcher(program)
    ops: list[Op] = []
    for op in program.ops:
        if op.kind == "scatter":
            ops += _scatter(match, op)
        elif op.kind == "dynamic_update_slice":
            ops += _update_slice(match, op)
        else:
            ops.append(op)
    program.ops = ops


def evaluate(op: Op) -> np.ndarray | None:
    """A scatter of constants."""
    reducer = op.attrs["reducer"]
    if len(op.inputs) != 3 or any(value.data is None for value in op.inputs) or reducer not in _UFUNC:
        return None
    x, _, updates = (np.asarray(value.data) for value in op.inputs)
    places, order, indexed = _places(op, op.attrs["scatter_dimension_numbers"])
    others = [axis for axis in range(x.ndim) if axis not in indexed]
    moved = x.transpose(*others, *indexed)
    result = moved.reshape(*(x.shape[axis] for axis in others), -1).copy()
    rows = updates.transpose(order).reshape(*result.shape[:-1], places.size)
    inside = np.flatnonzero(places.reshape(-1) >= 0)
    where = (..., places.reshape(-1)[inside])
    if reducer == "second":
        result[where] = rows[..., inside]
    else:
        _UFUNC[reducer].at(result, where, rows[..., inside])
    return result.reshape(moved.shape).transpose(np.argsort((*others, *indexed)))


def _scatter(match: Matcher, op: Op) -> list[Op]:
    if len(op.inputs) != 3:
        raise UnsupportedError(op.where, "a scatter into several arrays at once has no ONNX form here")
    x, indices, updates = op.inputs
    if indices.data is None:
        raise UnsupportedError(op.where, "it writes to places that are only known when it runs")
    reducer = op.attrs["reducer"]
    if reducer not in _UFUNC:
        raise UnsupportedError(op.where, f"a scatter by '{reducer or 'a custom function'}' has no ONNX form")
    numbers = op.attrs["scatter_dimension_numbers"]
    places, order, indexed = _places(op, numbers)
    draft = Draft(op.where)
    number = _uniform(match, updates)
    counts = [int(x.shape[axis]) for axis in indexed]
    total = math.prod(counts)
    others = tuple(axis for axis in range(x.rank) if axis not in indexed)
    inside = (places >= 0).reshape(-1)
    flat = places.reshape(-1)
    hits = np.bincount(flat[inside], minlength=total)
    source = np.zeros(total, np.int32)
    source[flat[inside]] = np.flatnonzero(inside)  # the last one wins
    repeated = bool((hits > 1).any()) and reducer != "second"
    if repeated and reducer != "add":
        raise UnsupportedError(op.where, f"it combines several updates of one place by '{reducer}'")
    back = tuple(np.argsort((*others, *indexed)).tolist())
    open_shape = (*(x.shape[axis] for axis in others), *counts)
    mask_shape = [int(x.shape[axis]) if axis in indexed else 1 for axis in range(x.rank)]
    if repeated or number is None:
        rows = draft.transpose(updates, order)
        rows = draft.reshape(rows, (*(x.shape[axis] for axis in others), flat.size))
        spread = _summed(draft, rows, flat, inside, total) if repeated else _picked(draft, rows, source)
        spread = draft.transpose(draft.reshape(spread, open_shape), back)
    else:
        spread = draft.op("broadcast_in_dim", [number], x.shape, x.dtype, broadcast_dimensions=())
    result = spread
    base = _uniform(match, x)
    from_zero = base is not None and base.data is not None and not base.data.any()
    if reducer != "second" and not (reducer == "add" and from_zero):
        result = draft.op(reducer, [x, spread], x.shape, x.dtype)
    if repeated:
        draft.ops[-1].outputs = op.outputs
        return draft.ops
    by_axis = tuple(np.argsort(indexed).tolist())
    mask = (hits > 0).reshape(counts).transpose(by_axis).reshape(mask_shape)
    axes = tuple(range(x.rank))
    flags = draft.op("broadcast_in_dim", [constant(mask)], x.shape, mask.dtype, broadcast_dimensions=axes)
    draft.op("select", [flags, result, x], x.shape, x.dtype)
    draft.ops[-1].outputs = op.outputs
    return draft.ops


def _places(op: Op, numbers: dict) -> tuple[np.ndarray, tuple[int, ...], list[int]]:
    """For every update the place it goes to, among the indexed axes merged into one (-1: outside of x).

    Returns (places, order, indexed): `order` transposes the updates to (axes that are not indexed ..., what
    `places` counts), and `indexed` are the merged axes. An axis is left out of them where every update covers
    it all.
    """
    x, indices, updates = op.inputs
    assert indices.data is not None
    starts = indices.data.astype(np.int64)
    vector = numbers["index_vector_dim"]
    if vector == starts.ndim:
        starts = starts[..., None]
    starts = np.moveaxis(starts, vector, -1)
    window = list(numbers["update_window_dims"])
    gone = {*numbers["inserted_window_dims"], *numbers["input_batching_dims"]}
    kept = [axis for axis in range(x.rank) if axis not in gone]
    dim_of = dict(zip(kept, window, strict=True))
    named = list(numbers["scattered_dims_to_operand_dims"])
    batching = dict(
        zip(numbers["input_batching_dims"], numbers["scatter_indices_batching_dims"], strict=True)
    )
    loose = [dim for dim in range(updates.rank) if dim not in window]
    whole = [
        axis
        for axis in kept
        if updates.shape[dim_of[axis]] == x.shape[axis]
        and (axis not in named or not starts[..., named.index(axis)].any())
    ]
    indexed = [axis for axis in range(x.rank) if axis not in whole]
    if any(isinstance(x.shape[axis], Batch) for axis in indexed):
        raise UnsupportedError(op.where, "it writes to places in the batch, which dynamic_batch cannot")
    run = [dim_of[axis] for axis in indexed if axis in dim_of]
    counted = [*loose, *run]
    sizes = [int(updates.shape[dim]) for dim in counted]
    grid = np.indices(sizes)
    at = {dim: grid[place] for place, dim in enumerate(counted)}
    row = tuple(at[dim] for dim in loose)
    place, inside = np.zeros(sizes, np.int64), np.ones(sizes, bool)
    for axis in indexed:
        position = np.zeros(sizes, np.int64)
        limit = int(x.shape[axis]) - (int(updates.shape[dim_of[axis]]) if axis in dim_of else 1)
        if axis in named:
            first = starts[..., named.index(axis)][row]
            inside &= (first >= 0) & (first <= limit)
            position = position + first
        elif axis in batching:
            dim = batching[axis]
            position = position + at[loose[dim - (dim > vector)]]
        if axis in dim_of:
            position = position + at[dim_of[axis]]
        place = place * int(x.shape[axis]) + position
    order = tuple(dim_of[axis] for axis in whole)
    return np.where(inside, place, -1), (*order, *counted), indexed


def _uniform(match: Matcher, value: Value) -> Value | None:
    """The single number that a value holds everywhere, constant or not."""
    if value.data is not None:
        flat = value.data.reshape(-1)
        return constant(flat[0].reshape(())) if flat.size and (flat == flat[0]).all() else None
    op = match.made_by(value, "broadcast_in_dim", "reshape")
    if op is None:
        return None
    return op.inputs[0] if op.inputs[0].rank == 0 else _uniform(match, op.inputs[0])


def _picked(draft: Draft, rows: Value, source: np.ndarray) -> Value:
    """(..., m) -> (..., n): rows[..., source]."""
    axis = rows.rank - 1
    if np.array_equal(source, np.arange(rows.shape[axis])):
        return rows
    numbers = {
        "offset_dims": tuple(range(axis)),
        "collapsed_slice_dims": (axis,),
        "operand_batching_dims": (),
        "start_indices_batching_dims": (),
        "start_index_map": (axis,),
        "index_vector_dim": 1,
    }
    shape = (*rows.shape[:axis], len(source))
    sizes = (*rows.shape[:axis], 1)
    starts = constant(source[:, None])
    return draft.op("gather", [rows, starts], shape, rows.dtype, dimension_numbers=numbers, slice_sizes=sizes)


def _summed(draft: Draft, rows: Value, flat: np.ndarray, inside: np.ndarray, total: int) -> Value:
    """(..., m) -> (..., n): every update added where it belongs, as a product with a matrix of ones."""
    matrix = np.zeros((flat.size, total), rows.dtype)
    matrix[np.flatnonzero(inside), flat[inside]] = 1
    numbers = {
        "lhs_batching_dimensions": (),
        "rhs_batching_dimensions": (),
        "lhs_contracting_dimensions": (rows.rank - 1,),
        "rhs_contracting_dimensions": (0,),
    }
    shape = (*rows.shape[:-1], total)
    return draft.op("dot_general", [rows, constant(matrix)], shape, rows.dtype, dot_dimension_numbers=numbers)


def _first(op: Op) -> tuple[int, ...] | None:
    """Where a dynamic_update_slice writes, moved inside as StableHLO says; None if that is computed."""
    x, updates, *starts = op.inputs
    if any(start.data is None for start in starts):
        return None
    rows = zip(starts, x.shape, updates.shape, strict=True)
    return tuple(max(0, min(int(np.asarray(s.data)), int(n) - int(k))) for s, n, k in rows)


def _update_slice(match: Matcher, op: Op) -> list[Op]:
    """The updates padded to the operand, taken where they are."""
    x, updates = op.inputs[:2]
    first = _first(op)
    if first is None:
        raise UnsupportedError(op.where, "it writes to a place that is only known when it runs")
    part = [axis for axis in range(x.rank) if updates.shape[axis] != x.shape[axis]]
    if any(isinstance(x.shape[axis], Batch) for axis in part):
        raise UnsupportedError(op.where, "it writes to a part of the batch, which dynamic_batch cannot")
    draft = Draft(op.where)
    mask = np.ones([int(x.shape[axis]) if axis in part else 1 for axis in range(x.rank)], bool)
    for axis in part:
        line = np.arange(int(x.shape[axis]))
        line = (line >= first[axis]) & (line < first[axis] + int(updates.shape[axis]))
        mask = mask & line.reshape([-1 if other == axis else 1 for other in range(x.rank)])
    number = _uniform(match, updates)
    if number is not None:
        spread = draft.op("broadcast_in_dim", [number], x.shape, x.dtype, broadcast_dimensions=())
    else:
        low = tuple(first[axis] if axis in part else 0 for axis in range(x.rank))
        high = tuple(
            int(x.shape[axis]) - int(updates.shape[axis]) - first[axis] if axis in part else 0
            for axis in range(x.rank)
        )
        fill = constant(np.zeros((), x.dtype))
        spread = draft.op(
            "pad",
            [updates, fill],
            x.shape,
            x.dtype,
            edge_padding_low=low,
            edge_padding_high=high,
            interior_padding=(0,) * x.rank,
        )
    axes = tuple(range(x.rank))
    flags = draft.op("broadcast_in_dim", [constant(mask)], x.shape, mask.dtype, broadcast_dimensions=axes)
    draft.op("select", [flags, spread, x], x.shape, x.dtype)
    draft.ops[-1].outputs = op.outputs
    return draft.ops


def _join_updates(program: Program) -> None:
    """Slices written one after another until an axis is full (the results of a scan) -> concatenate."""
    match = Matcher(program)
    for op in program.ops:
        if op.kind != "dynamic_update_slice":
            continue
        x = op.inputs[0]
        parts: dict[int, Value] = {}
        axis, at = None, op
        while at is not None and (first := _first(at)) is not None:
            part = [a for a in range(x.rank) if at.inputs[1].shape[a] != x.shape[a]]
            if len(part) != 1 or (axis is not None and part[0] != axis):
                break
            axis = part[0]
            if first[axis] in parts:  # written again later
                break
            parts[first[axis]] = at.inputs[1]
            if at is not op and not match.once(at.output):
                break
            at = match.made_by(at.inputs[0], "dynamic_update_slice")
        places = sorted(parts)
        if axis is None or len(places) < 2:
            continue
        ends = [place + int(parts[place].shape[axis]) for place in places]
        if places[0] != 0 or ends[-1] != x.shape[axis] or places[1:] != ends[:-1]:
            continue
        op.kind, op.inputs, op.attrs = "concatenate", [parts[place] for place in places], {"dimension": axis}
    program.remove_dead()
