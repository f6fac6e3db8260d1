"""What a chain of reshapes, transpositions, slices and concatenations does to single elements.

A chain is followed with the numbers of the elements in the place of their values. Rolls, window partitions
and splits into heads then all look the same: an array that says where each element comes from.
"""

from __future__ import annotations

import math

import numpy as np

from export.lower.program import Batch, Matcher, Op, Shape, Value

MOVES = ("reshape", "transpose", "slice", "concatenate")
# Larger tensors are not followed: an array of their indices would be out of proportion.
MOST_ELEMENTS = 1 << 27


def sizes(shape: Shape) -> tuple[int, ...]:
    """`shape` for a batch of one, where the batch is dynamic."""
    return tuple(dim.scale if isinstance(dim, Batch) else int(dim) for dim in shape)


def numbers(shape: Shape) -> np.ndarray | None:
    """0, 1, 2, ... in an array of `shape`."""
    wanted = sizes(shape)
    count = math.prod(wanted)
    return np.arange(count, dtype=np.int32).reshape(wanted) if count <= MOST_ELEMENTS else None


def origin(match: Matcher, value: Value, held: dict[Value, np.ndarray]) -> np.ndarray | None:
    """Where the elements of `value` come from, if only moves lie between it and the values in `held`.

    Intermediate results are added to `held`.
    """
    if value in held:
        return held[value]
    op = match.made_by(value, *MOVES)
    if op is None:
        return None
    parts = [origin(match, source, held) for source in op.inputs]
    arrays = [part for part in parts if part is not None]
    if len(arrays) != len(parts):
        return None
    held[value] = move(op, arrays)
    return held[value]


def move(op: Op, arrays: list[np.ndarray]) -> np.ndarray:
    """The operation on arrays in the place of its inputs."""
    if op.kind == "reshape":
        return arrays[0].reshape(sizes(op.output.shape))
    if op.kind == "transpose":
        return arrays[0].transpose(op.attrs["permutation"])
    if op.kind == "concatenate":
        return np.concatenate(arrays, op.attrs["dimension"])
    keys = ("start_indices", "limit_indices", "strides")
    limits = zip(*(sizes(op.attrs[key]) for key in keys), strict=True)
    return arrays[0][tuple(slice(*bounds) for bounds in limits)]


def source(match: Matcher, value: Value, *kinds: str) -> Op | None:
    """The operation of one of `kinds` that `value` comes from through moves alone; None if there are two."""
    op = match.made_by(value, *MOVES, *kinds)
    if op is None or op.kind in kinds:
        return op
    found = {id(made): made for part in op.inputs if (made := source(match, part, *kinds)) is not None}
    return next(iter(found.values())) if len(found) == 1 else None


def beginning(match: Matcher, value: Value) -> Value:
    """The value that `value` is made of by moves alone, as far back as there is only one."""
    op = match.made_by(value, *MOVES)
    if op is None:
        return value
    found = list(dict.fromkeys(beginning(match, part) for part in op.inputs))
    return found[0] if len(found) == 1 else value
