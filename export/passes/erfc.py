"""erfc as JAX spells it out in `jax.export` files -> erfc.

A portable file has no erfc: JAX writes some eighty operations instead, three rational functions chosen by
|x| < 1 and |x| < 2. Their coefficients differ between versions and types, so what counts is not the text:
where something that a comparison of |x| with 1 selects depends on nothing but x, it is computed for many x,
and it is erfc if it gives erfc's values.
"""

from __future__ import annotations

import math

import numpy as np

from export.lower.program import Matcher, Op, Program, Value
from export.passes.evaluate import ELEMENTWISE, compare
from export.passes.mean import narrow_islands

# Where erfc is 2, falls, is 0, and underflows; 0 itself divides by zero in the branch that is not taken.
POINTS = np.concatenate([np.linspace(-12, 12, 2401), np.array([-1.0, 1.0, -2.0, 2.0])])
WANTED = np.array([math.erfc(point) for point in POINTS])
# Errors of the approximations in use: a few roundings of float32. In half precision JAX computes in float32.
TOLERANCE = 2e-6
_MOST_OPERATIONS = 400


def raise_erfc(program: Program) -> None:
    """Recognise erfc by its values."""
    match = Matcher(program)
    for op in program.ops:
        if op.kind == "select" and op.output.dtype in (np.float32, np.float64):
            x = _argument(match, op)
            if x is not None and x.shape == op.output.shape and _is_erfc(match, op, x):
                op.kind, op.inputs, op.attrs = "erfc", [x], {}
    program.remove_dead()
    narrow_islands(program, ("erfc",))  # as JAX has it before it is spelled out


def _argument(match: Matcher, select: Op) -> Value | None:
    """x if the condition is |x| < 1."""
    test = match.made_by(select.inputs[0], "compare")
    size = match.made_by(test.inputs[0], "abs") if test is not None else None
    if test is None or size is None or match.scalar(test.inputs[1]) != 1.0:
        return None
    return size.inputs[0]


def _is_erfc(match: Matcher, select: Op, x: Value) -> bool:
    """Compute `select` for every point, following its operands back to `x`."""
    points = POINTS.astype(x.dtype)
    known: dict[Value, np.ndarray] = {x: points}
    stack, visited = [select.output], 0
    with np.errstate(all="ignore"):
        while stack:
            value = stack[-1]
            if value in known:
                stack.pop()
                continue
            number = match.scalar(value)
            if number is not None:
                known[value] = np.full(points.shape, number, value.dtype)
                continue
            op = match.made_by(value, "compare", "convert", *ELEMENTWISE)
            if op is None or len(op.outputs) != 1:
                return False
            missing = [operand for operand in op.inputs if operand not in known]
            if missing:
                stack += missing
                continue
            visited += 1
            if visited > _MOST_OPERATIONS:
                return False
            known[value] = _compute(op, [known[operand] for operand in op.inputs])
    found = known[select.output].astype(np.float64)
    return bool(np.isfinite(found).all() and np.abs(found - WANTED).max() <= TOLERANCE)


def _compute(op: Op, operands: list[np.ndarray]) -> np.ndarray:
    if op.kind == "compare":
        return compare(op, operands[0], operands[1])
    if op.kind == "convert":
        return operands[0].astype(op.output.dtype)
    return np.asarray(ELEMENTWISE[op.kind](*operands), op.output.dtype)
