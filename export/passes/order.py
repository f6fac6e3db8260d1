"""Reductions of pairs (value, index) -> argmax and argmin; sorts -> top-k of everything.

reduce(x, iota; the larger value, the first of equal ones)    argmax and a reduction
sort(x, iota; by x)                                           top_k: values and indices
sort(x, y; by x)                                              top_k, and y taken along
"""

from __future__ import annotations

import numpy as np

from export.lower.program import Matcher, Op, Program, UnsupportedError, Value, constant


def raise_orders(program: Program) -> None:
    """Recognise argmax, argmin and sorts by one key.

    Raises:
      UnsupportedError: a sort by several keys.
    """
    match = Matcher(program)
    ops: list[Op] = []
    replaced: dict[Value, Value] = {}
    for op in program.ops:
        op.inputs = [replaced.get(value, value) for value in op.inputs]
        if op.kind == "reduce" and op.attrs["reducer"] in ("argmax", "argmin"):
            ops += _argument(match, op)
        elif op.kind == "sort":
            ops += _sort(match, op, replaced)
        else:
            ops.append(op)
    program.ops = ops
    program.replace(replaced)


def _argument(match: Matcher, op: Op) -> list[Op]:
    axes = tuple(op.attrs["dimensions"])
    places = _along(match, op.inputs[1], axes[0])
    if len(axes) != 1 or places is None or not np.array_equal(places, np.arange(len(places))):
        return [op]
    largest = op.attrs["reducer"] == "argmax"
    attrs = {"dimensions": axes, "reducer": "maximum" if largest else "minimum"}
    x, start = op.inputs[0], op.inputs[2]
    return [
        Op(op.attrs["reducer"], [x], op.outputs[1:], {"axis": axes[0]}, op.where),
        Op("reduce", [x, start], op.outputs[:1], attrs, op.where),
    ]


def _sort(match: Matcher, op: Op, replaced: dict[Value, Value]) -> list[Op]:
    if not op.attrs["order"]:
        raise UnsupportedError(op.where, "only sorts by one key, up or down, have an ONNX form here")
    axis, key = op.attrs["dimension"], op.inputs[0]
    k = int(key.shape[axis])
    indices = Value(key.shape, np.dtype(np.int32))
    attrs = {"axis": axis, "k": k, "largest": op.attrs["order"] == "descending"}
    ops = [Op("top_k", [key], [op.outputs[0], indices], attrs, op.where)]
    for value, out in zip(op.inputs[1:], op.outputs[1:], strict=True):
        vector = _along(match, value, axis)
        if vector is None:
            ops.append(Op("take_along", [value, indices], [out], {"axis": axis}, op.where))
        elif np.array_equal(vector, np.arange(k)) and out.dtype == indices.dtype:
            replaced[out] = indices
        else:  # the same row everywhere: its elements by their number
            starts = Value((*key.shape, 1), indices.dtype)
            ops.append(Op("reshape", [indices], [starts], {}, op.where))
            gather = {"dimension_numbers": _LOOK_UP | {"index_vector_dim": key.rank}, "slice_sizes": (1,)}
            ops.append(Op("gather", [constant(vector), starts], [out], gather, op.where))
    return ops


_LOOK_UP = {
    "offset_dims": (),
    "collapsed_slice_dims": (0,),
    "operand_batching_dims": (),
    "start_indices_batching_dims": (),
    "start_index_map": (0,),
}


def _along(match: Matcher, value: Value, axis: int) -> np.ndarray | None:
    """The numbers along `axis` of a value that is the same along every other one, if they are known."""
    if value.data is not None:
        first = np.moveaxis(value.data, axis, 0).reshape(value.shape[axis], -1)
        return first[:, 0] if first.shape[1] and (first == first[:, :1]).all() else None
    if (op := match.made_by(value, "iota")) is not None:
        if op.attrs["iota_dimension"] != axis:
            return None
        return np.arange(int(value.shape[axis])).astype(value.dtype)
    if (op := match.made_by(value, "reverse")) is not None:
        row = _along(match, op.inputs[0], axis)
        return row[::-1] if row is not None and tuple(op.attrs["dimensions"]) == (axis,) else None
    if (op := match.made_by(value, "reshape", "broadcast_in_dim")) is not None:
        source = op.inputs[0]
        if op.kind == "broadcast_in_dim" and axis in op.attrs["broadcast_dimensions"]:
            inner = tuple(op.attrs["broadcast_dimensions"]).index(axis)
            return _along(match, source, inner) if source.shape[inner] == value.shape[axis] else None
        if op.kind == "reshape" and source.shape == value.shape:
            return _along(match, source, axis)
    return None
