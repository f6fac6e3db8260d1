"""1 / (1 + exp(-x)), as newer JAX writes it -> logistic."""

from __future__ import annotations

from export.lower.program import Matcher, Op, Program, Value


def raise_sigmoid(program: Program) -> None:
    """Recognise the logistic function."""
    match = Matcher(program)
    for op in program.ops:
        x = _argument(match, op) if op.kind == "divide" else None
        if x is not None:
            op.kind, op.inputs, op.attrs = "logistic", [x], {}
    program.remove_dead()


def _argument(match: Matcher, op: Op) -> Value | None:
    total = match.made_by(op.inputs[1], "add")
    if match.scalar(op.inputs[0]) != 1.0 or total is None:
        return None
    for one, other in (total.inputs, total.inputs[::-1]):
        exp = match.made_by(other, "exponential")
        minus = match.made_by(exp.inputs[0], "negate") if exp is not None else None
        if match.scalar(one) == 1.0 and minus is not None and minus.inputs[0].shape == op.output.shape:
            return minus.inputs[0]
    return None
