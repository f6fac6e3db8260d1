"""Let element-wise operations read small operands directly: ONNX broadcasts by itself.

    add(x, broadcast_in_dim(b, dims=[3]))  ->  add(x, reshape(b, (1, 1, 1, c)))

The reshape only adds dimensions of size 1. An operation all of whose operands would be small keeps its
broadcast, or its result would shrink.
"""

from __future__ import annotations

import numpy as np

from export.lower.elementwise import SIMPLE
from export.lower.program import Op, Program, Value

ELEMENTWISE = {*SIMPLE, "compare", "clamp", "remainder", "atan2"} - {"relu"}


def dissolve_broadcasts(program: Program) -> None:
    """Replace broadcast operands of element-wise operations by reshapes that add dimensions of size 1."""
    maker = program.producers()
    ops: list[Op] = []
    small: dict[Value, Value] = {}
    for op in program.ops:
        inner = maker.get(op.inputs[0]) if op.kind == "broadcast_in_dim" else None
        if inner is not None and inner.kind == "broadcast_in_dim":  # vmap broadcasts axis by axis
            axes = op.attrs["broadcast_dimensions"]
            op.inputs = inner.inputs[:1]
            op.attrs["broadcast_dimensions"] = tuple(axes[a] for a in inner.attrs["broadcast_dimensions"])
        if op.kind in ELEMENTWISE:
            candidates = [_small(maker.get(value), ops, small) for value in op.inputs]
            inputs = [new if new is not None else old for old, new in zip(op.inputs, candidates, strict=True)]
            if np.broadcast_shapes(*(tuple(map(int, v.shape)) for v in inputs)) == tuple(
                map(int, op.output.shape)
            ):
                op.inputs = inputs
        ops.append(op)
    program.ops = ops
    program.remove_dead()


def _small(op: Op | None, ops: list[Op], made: dict[Value, Value]) -> Value | None:
    if op is None or op.kind != "broadcast_in_dim":
        return None
    if op.output in made:
        return made[op.output]
    source, out = op.inputs[0], op.output
    shape = [1] * out.rank
    for axis, size in zip(op.attrs["broadcast_dimensions"], source.shape, strict=True):
        shape[axis] = size
    if source.data is not None:
        value = Value(tuple(shape), source.dtype, source.data.reshape(shape), source.name)
    elif tuple(shape) == source.shape:
        value = source
    else:
        value = Value(tuple(shape), source.dtype)
        ops.append(Op("reshape", [source], [value], {}, op.where))
    made[out] = value
    return value
