"""Dynamic batch without symbolic tracing: compare two static traces and mark what follows the batch.

The callable is traced at two batch sizes. Both programs must have the same operations in the same order;
where a dimension differs, it must be the same multiple of both batches, and becomes a `Batch`. Anything else
that differs (a constant, a slice bound, an operation) depends on the batch in a way that ONNX cannot follow,
and is an error that names the operation.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from export.lower.program import Batch, Op, Program, UnsupportedError, Value, Where

# Two primes that no image size, channel count or token count of a model is a multiple of.
SIZES = (1009, 1013)

# Attributes that hold sizes of the result; its type says the same and is marked there.
_SHAPE_ATTRS = {"output_shape", "shape"}

# Attributes that may be as large as a dimension of the operand that follows the batch.
_BOUNDS = {("slice", "limit_indices"), ("gather", "slice_sizes"), ("dynamic_slice", "slice_sizes")}


def mark_batch(program: Program, other: Program) -> None:
    """Turn every dimension of `program` (traced at SIZES[0]) that differs in `other` (at SIZES[1]) into a
    Batch.

    Raises:
      UnsupportedError: the two programs differ in anything but sizes that follow the batch.
    """
    for a, b in zip(program.inputs, other.inputs, strict=True):
        _mark(a, b, Where(f"input '{a.name}'"))
    if len(program.ops) != len(other.ops):
        _fail(
            Where("the function"),
            f"it runs {len(program.ops)} operations at batch {SIZES[0]}, {len(other.ops)} at {SIZES[1]}",
        )
    for mine, theirs in zip(program.ops, other.ops, strict=True):
        if mine.kind != theirs.kind or len(mine.inputs) != len(theirs.inputs):
            _fail(mine.where, f"at another batch size its place is taken by {theirs.where}")
        for a, b in zip(mine.inputs, theirs.inputs, strict=True):
            _same_constant(a, b, mine.where)
        _same_attributes(mine, theirs)
        for a, b in zip(mine.outputs, theirs.outputs, strict=True):
            _mark(a, b, mine.where)


def _mark(value: Value, other: Value, where: Where) -> None:
    if value.rank != other.rank or value.dtype != other.dtype:
        _fail(where, f"its result is {value.shape} at one batch size and {other.shape} at another")
    dims = []
    for a, b in zip(value.shape, other.shape, strict=True):
        scale, rest = divmod(a, SIZES[0])
        if a != b and (rest or b != scale * SIZES[1]):
            _fail(
                where,
                f"a dimension is {a} at batch {SIZES[0]} and {b} at {SIZES[1]}: no multiple of the batch",
            )
        dims.append(a if a == b else Batch(a, scale))
    value.shape = tuple(dims)


def _same_constant(a: Value, b: Value, where: Where) -> None:
    if (a.data is None) != (b.data is None):
        _fail(where, "an operand is constant at one batch size only")
    if a.data is None or a.data is b.data:
        return
    assert b.data is not None
    # as bytes: the NaN that jnp.take gives outside of an array is equal to itself here
    if a.data.shape != b.data.shape or a.data.tobytes() != b.data.tobytes():
        _fail(
            where, "one of its constants depends on the batch (a mean over the batch, a table of its size?)"
        )


def _same_attributes(mine: Op, theirs: Op) -> None:
    for key, value in mine.attrs.items():
        if key in _SHAPE_ATTRS:
            continue
        if (mine.kind, key) in _BOUNDS:
            value = _bounds(mine, theirs, key)
            mine.attrs[key] = value
            continue
        if not _equal(value, theirs.attrs.get(key)):
            _fail(
                mine.where,
                f"its {key} is {value} at batch {SIZES[0]} and {theirs.attrs.get(key)} at {SIZES[1]}",
            )


def _bounds(mine: Op, theirs: Op, key: str) -> tuple[int, ...]:
    """Slice bounds that reach to the end of a batch dimension follow it."""
    rows = zip(mine.attrs[key], theirs.attrs[key], mine.inputs[0].shape, strict=True)
    limits = []
    for a, b, size in rows:
        if a != b and a != size:
            _fail(mine.where, f"it slices at {a} for batch {SIZES[0]} and at {b} for {SIZES[1]}")
        limits.append(size if a == size else a)
    return tuple(limits)


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and np.array_equal(a, b)
    return bool(a == b)


def _fail(where: Where, why: str) -> None:
    raise UnsupportedError(where, f"{why}; export with a fixed batch instead")
