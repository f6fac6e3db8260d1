"""Element-wise operations: they take the layout of their inputs, whichever costs no Transpose."""

from __future__ import annotations

import numpy as np

from export.lower.context import Context
from export.lower.graph import Tensor, onnx_type
from export.lower.layout import Perm
from export.lower.program import Op, UnsupportedError, Value

# StableHLO/CHLO (or our own) name -> ONNX operator, same operands
SIMPLE = {
    "abs": "Abs",
    "add": "Add",
    "and": "And",
    "ceil": "Ceil",
    "cosine": "Cos",
    "divide": "Div",
    "erf": "Erf",
    "exponential": "Exp",
    "floor": "Floor",
    "log": "Log",
    "logistic": "Sigmoid",
    "maximum": "Max",
    "minimum": "Min",
    "multiply": "Mul",
    "negate": "Neg",
    "not": "Not",
    "or": "Or",
    "power": "Pow",
    "relu": "Relu",
    "round_nearest_even": "Round",
    "select": "Where",
    "sign": "Sign",
    "sine": "Sin",
    "sqrt": "Sqrt",
    "subtract": "Sub",
    "tanh": "Tanh",
}
COMPARISONS = {"EQ": "Equal", "GE": "GreaterOrEqual", "GT": "Greater", "LE": "LessOrEqual", "LT": "Less"}


def _lower(context: Context, op: Op, kind: str, inputs: list[Value], **attrs: object) -> None:
    perm = context.choose(inputs, op.output.rank)
    context.emit(kind, op, [operand(context, value, perm, op) for value in inputs], perm, **attrs)


def operand(context: Context, value: Value, perm: Perm, op: Op) -> Tensor:
    """`value` in layout `perm`; a constant also loses the leading 1s that ONNX broadcasting supplies."""
    if value.data is None:
        return context.layouts.get(value, perm, op.where)
    data = value.data.transpose(perm) if value.rank == len(perm) else value.data
    if data.size and (flat := data.reshape(-1))[0] == flat[-1] and (data == flat[0]).all():
        data = flat[0].reshape(())
    while data.ndim and data.shape[0] == 1:
        data = data[0]
    return context.graph.constant(data, value.name)


def _simple(context: Context, op: Op) -> None:
    _lower(context, op, SIMPLE[op.kind], op.inputs)


def _compare(context: Context, op: Op) -> None:
    direction = op.attrs["comparison_direction"].split()[-1].strip(">")
    if direction not in COMPARISONS:
        raise UnsupportedError(op.where, f"comparison {direction} has no ONNX operator")
    _lower(context, op, COMPARISONS[direction], op.inputs)


def _rsqrt(context: Context, op: Op) -> None:
    perm = context.choose(op.inputs, op.output.rank)
    x = operand(context, op.inputs[0], perm, op)
    root = context.graph.node("Sqrt", [x], x.shape, x.dtype, op.where)
    context.emit("Reciprocal", op, [root], perm)


def _convert(context: Context, op: Op) -> None:
    _lower(context, op, "Cast", op.inputs, to=onnx_type(op.output.dtype))


def _clamp(context: Context, op: Op) -> None:
    low, x, high = op.inputs
    bounds = [bound.data for bound in (low, high)]
    if any(data is None or data.size != 1 for data in bounds):
        raise UnsupportedError(op.where, "the bounds of a clamp must be constant scalars")
    scalars = [Value((), x.dtype, np.asarray(data).reshape(())) for data in bounds]
    _lower(context, op, "Clip", [x, *scalars])


LOWERINGS = {
    **dict.fromkeys(SIMPLE, _simple),
    "compare": _compare,
    "rsqrt": _rsqrt,
    "convert": _convert,
    "clamp": _clamp,
}
