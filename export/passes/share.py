"""The same operation on the same values twice -> once: JAX widens one value for each who asks."""

from __future__ import annotations

from typing import Any

import numpy as np

from export.lower.program import Op, Program, Value


def share_repeated(program: Program) -> None:
    """Read the first result wherever an operation repeats another one exactly."""
    seen: dict[tuple, Op] = {}
    replaced: dict[Value, Value] = {}
    kept = []
    for op in program.ops:
        op.inputs = [replaced.get(value, value) for value in op.inputs]
        first = seen.setdefault(_key(op), op)
        if first is op:
            kept.append(op)
        else:
            replaced.update(zip(op.outputs, first.outputs, strict=True))
    program.ops = kept
    program.replace(replaced)


def _key(op: Op) -> tuple:
    types = tuple((value.shape, value.dtype) for value in op.outputs)
    return (
        op.kind,
        tuple(map(id, op.inputs)),
        types,
        tuple((k, _plain(op.attrs[k])) for k in sorted(op.attrs)),
    )


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.shape, value.tobytes()
    if isinstance(value, dict):
        return tuple((key, _plain(value[key])) for key in sorted(value))
    return value
