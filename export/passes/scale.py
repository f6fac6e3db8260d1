"""linear(x, w, b) * s -> linear(x, w*s, b*s), for a constant number s; convolutions likewise.

This is where the 1/sqrt(d) of attention goes when the queries are scaled. Reshapes and transposes may stand
between.
"""

from __future__ import annotations

import numpy as np

from export.lower.program import Matcher, Op, Program, Value


def fold_scale(program: Program) -> None:
    """Move multiplications by a constant number into the weights that made the value."""
    match = Matcher(program)
    replaced: dict[Value, Value] = {}
    for op in program.ops:
        if op.kind not in ("multiply", "divide"):
            continue
        for x, factor in (op.inputs, op.inputs[::-1]) if op.kind == "multiply" else (op.inputs,):
            number = match.scalar(factor)
            source = _weighted(match, x)
            if number is None or source is None or x.shape != op.output.shape or number == 0:
                continue
            _scale(source, number if op.kind == "multiply" else 1 / number)
            replaced[op.output] = x
            break
    program.replace(replaced)
    program.remove_dead()


def _weighted(match: Matcher, value: Value) -> Op | None:
    """The linear map or convolution behind `value`, if nothing else reads it on the way."""
    while match.once(value):
        op = match.made_by(value, "linear", "convolution", "reshape", "transpose")
        if op is None:
            return None
        if op.kind in ("linear", "convolution"):
            return op if all(weight.data is not None for weight in op.inputs[1:]) else None
        value = op.inputs[0]
    return None


def _scale(op: Op, number: float) -> None:
    """Scale weights and bias; half-precision weights are multiplied in float32 and rounded once."""
    scaled = []
    for weight in op.inputs[1:]:
        assert weight.data is not None
        wide = np.float64 if weight.dtype.itemsize >= 4 else np.float32
        data = (weight.data.astype(wide) * wide(number)).astype(weight.dtype)
        scaled.append(Value(weight.shape, weight.dtype, data, weight.name))
    op.inputs = [op.inputs[0], *scaled]
