"""Projections to heads and back, as einsum writes them -> linear maps and reshapes.

    einsum("bnc,chd->bnhd", x, w) + bias (h, d)  ->  reshape(linear(x, w as (c, h*d), bias))
    einsum("bnhd,hdc->bnc", x, w)                ->  linear(reshape(x, (b, n, h*d)), w as (h*d, c))

Flax's MultiHeadDotProductAttention and DenseGeneral are made of these. As linear maps their bias, a scale of
the queries and their order of dimensions are free, and attention is recognised.
"""

from __future__ import annotations

import math

import numpy as np

from export.lower.program import Batch, Matcher, Op, Program, Shape, Value


def raise_projections(program: Program) -> None:
    """Rewrite products with a constant on the right of which several dimensions are kept or summed."""
    match = Matcher(program)
    readers = program.readers()
    placed: dict[int, list[Op]] = {}
    gone: set[int] = set()
    for op in program.ops:
        if op.kind == "dot_general" and _fits(op):
            bias = _bias(match, readers, op)
            placed[id(op)] = _projected(op, bias)
            if bias is not None:
                gone.add(id(bias))
    ops: list[Op] = []
    for op in program.ops:
        ops += placed.get(id(op), [] if id(op) in gone else [op])
    program.ops = ops


def _fits(op: Op) -> bool:
    numbers = op.attrs["dot_dimension_numbers"]
    x, kernel = op.inputs
    if numbers["lhs_batching_dimensions"] or x.data is not None or kernel.data is None:
        return False
    summed, _ = _summed(op)
    kept = kernel.rank - len(summed)
    if not summed or not kept or (len(summed) == kept == 1):  # raise_linear has those
        return False
    # a reshape merges neighbours only; more than one dimension that follows the batch has no size there
    together = summed == list(range(summed[0], summed[0] + len(summed)))
    return together and summed[-1] == x.rank - 1 and not any(isinstance(x.shape[a], Batch) for a in summed)


def _summed(op: Op) -> tuple[list[int], list[int]]:
    """The summed dimensions of both operands, in the order of those on the left."""
    numbers = op.attrs["dot_dimension_numbers"]
    left, right = numbers["lhs_contracting_dimensions"], numbers["rhs_contracting_dimensions"]
    pairs = sorted(zip(left, right, strict=True))
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def _bias(match: Matcher, readers: dict[Value, list[Op]], op: Op) -> Op | None:
    """The addition of a constant that varies along the kept dimensions of the kernel, if it comes next."""
    users = readers.get(op.output, [])
    if len(users) != 1 or users[0].kind != "add" or not match.once(op.output):
        return None
    add = users[0]
    other = add.inputs[1] if add.inputs[0] is op.output else add.inputs[0]
    kept = op.inputs[1].rank - len(op.attrs["dot_dimension_numbers"]["rhs_contracting_dimensions"])
    shape = op.output.shape[op.output.rank - kept :]
    if other.data is None or other.rank != op.output.rank or add.output.shape != op.output.shape:
        return None
    return add if other.data.shape == (*(1,) * (other.rank - kept), *shape) else None


def _projected(op: Op, add: Op | None) -> list[Op]:
    x, kernel = op.inputs
    summed, axes = _summed(op)
    kept = [axis for axis in range(kernel.rank) if axis not in axes]
    data = np.asarray(kernel.data).transpose(*axes, *kept)
    rows = math.prod(data.shape[: len(axes)])
    data = np.ascontiguousarray(data.reshape(rows, -1))
    ops: list[Op] = []
    free: Shape = x.shape[: x.rank - len(summed)]
    if len(summed) > 1:
        merged = Value((*free, rows), x.dtype)
        ops.append(Op("reshape", [x], [merged], {}, op.where))
        x = merged
    inputs = [x, Value(data.shape, kernel.dtype, data, kernel.name)]
    last = op.output
    if add is not None:
        bias = next(value for value in add.inputs if value.data is not None)
        flat = np.asarray(bias.data).reshape(-1)
        inputs.append(Value(flat.shape, bias.dtype, flat, bias.name))
        last = add.output
    out = last if len(kept) == 1 else Value((*free, data.shape[1]), last.dtype)
    ops.append(Op("linear", inputs, [out], {"axis": x.rank - 1}, op.where))
    if out is not last:
        ops.append(Op("reshape", [out], [last], {}, op.where))
    return ops
