"""Constant rows put before or behind others, such as a class token: concat(c, x) -> pad(x) + [c, 0].

A constant repeated for each image would need the batch's size in the graph; a sum broadcasts by itself, and
the table of positions that is mostly added next takes the constant in.
"""

from __future__ import annotations

import math

import numpy as np

from export.lower.program import Batch, Matcher, Op, Program, Value, constant


def pad_constant_rows(program: Program) -> None:
    """Apply the rewrite to concatenations of one computed value with constants that images share."""
    match = Matcher(program)
    readers = program.readers()
    replaced: dict[Value, Value] = {}
    for op in list(program.ops):
        if op.kind != "concatenate" or op.attrs["dimension"] == 0:
            continue
        parts = [_shared(match, value) for value in op.inputs]
        computed = [value for value, part in zip(op.inputs, parts, strict=True) if part is None]
        if len(computed) == 1 and len(parts) > 1 and computed[0].dtype.kind != "b":
            _rewrite(program, match, readers, replaced, op, parts)
    program.replace(replaced)
    program.remove_dead()


def _shared(match: Matcher, value: Value) -> np.ndarray | None:
    """The constant that `value` repeats along its first axis, with size 1 there."""
    if value.data is not None and value.rank and value.shape[0] == 1:
        return value.data
    op = match.made_by(value, "broadcast_in_dim", "reshape")
    if op is not None and op.kind == "reshape":  # as jnp.tile and jnp.repeat write it
        return _tiled(match, value, op)
    source = op.inputs[0].data if op is not None else None
    if op is None or source is None or not value.rank:
        return None
    shape = [1] * value.rank
    for axis, size in zip(op.attrs["broadcast_dimensions"], source.shape, strict=True):
        shape[axis] = size
    if shape[0] != 1 or any(isinstance(size, Batch) for size in value.shape[1:]):
        return None
    return np.broadcast_to(source.reshape(shape), (1, *map(int, value.shape[1:])))


def _tiled(match: Matcher, value: Value, reshape: Op) -> np.ndarray | None:
    """The row behind reshape(broadcast(constant)) if all rows of `value` are equal."""
    repeat = match.made_by(reshape.inputs[0], "broadcast_in_dim")
    source = repeat.inputs[0].data if repeat is not None else None
    if repeat is None or source is None or value.rank < 2:
        return None
    own = [1] * repeat.output.rank
    for axis, size in zip(repeat.attrs["broadcast_dimensions"], source.shape, strict=True):
        own[axis] = size
    start = next((axis for axis, size in enumerate(own) if size > 1), len(own))
    rest = value.shape[1:]
    # the constant as it is, again and again: nothing is repeated inside it
    whole = tuple(own[start:]) == tuple(repeat.output.shape[start:])
    row = math.prod(map(int, rest))
    if not whole or row % source.size or any(isinstance(size, Batch) for size in rest):
        return None
    return np.tile(source.reshape(-1), row // source.size).reshape(1, *map(int, rest))


def _name(match: Matcher, value: Value) -> str:
    while value.data is None:
        value = match.maker[value].inputs[0]
    return value.name


def _rewrite(
    program: Program,
    match: Matcher,
    readers: dict[Value, list[Op]],
    replaced: dict[Value, Value],
    op: Op,
    parts: list[np.ndarray | None],
) -> None:
    axis, out = op.attrs["dimension"], op.output
    place = next(i for i, part in enumerate(parts) if part is None)
    x = op.inputs[place]
    gap = np.zeros((1, *map(int, x.shape[1:])), x.dtype)
    table = np.concatenate([gap if part is None else part for part in parts], axis).astype(x.dtype)
    sides = (parts[:place], parts[place + 1 :])
    before, behind = (sum(part.shape[axis] for part in side if part is not None) for side in sides)
    low, high = ([n if a == axis else 0 for a in range(x.rank)] for n in (before, behind))
    attrs = {
        "edge_padding_low": tuple(low),
        "edge_padding_high": tuple(high),
        "interior_padding": (0,) * x.rank,
    }
    padded = Value(out.shape, out.dtype)
    names = [_name(match, value) for value in op.inputs if value is not x]
    total, last = out, op
    users = readers.get(out, [])
    add = users[0] if len(users) == 1 and match.once(out) and users[0].kind == "add" else None
    if add is not None and add.output.shape == out.shape:
        other = add.inputs[1] if add.inputs[0] is out else add.inputs[0]
        if other.data is not None and other.rank == out.rank:
            table = table + other.data
            names.append(other.name)
            total, last = add.output, add
    fresh = Value(total.shape, total.dtype)
    replaced[total] = fresh
    new = [
        Op("pad", [x, constant(np.zeros((), x.dtype))], [padded], attrs, op.where),
        Op("add", [padded, constant(table, "+".join(filter(None, names)))], [fresh], {}, last.where),
    ]
    index = program.ops.index(op)
    program.ops[index:index] = new
