"""Element-wise operations: they take the layout of their inputs, whichever costs no Transpose."""

from __future__ import annotations

import functools
import itertools

import numpy as np

from export.lower.context import Context
from export.lower.graph import Tensor, onnx_type
from export.lower.layout import Perm, permute
from export.lower.program import Op, Shape, Value

# StableHLO/CHLO (or our own) name -> ONNX operator, same operands
SIMPLE = {
    "abs": "Abs",
    "acos": "Acos",
    "acosh": "Acosh",
    "add": "Add",
    "and": "And",
    "asin": "Asin",
    "asinh": "Asinh",
    "atan": "Atan",
    "atanh": "Atanh",
    "ceil": "Ceil",
    "cosh": "Cosh",
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
    "sinh": "Sinh",
    "sqrt": "Sqrt",
    "subtract": "Sub",
    "tan": "Tan",
    "tanh": "Tanh",
    "xor": "Xor",
}
# on integers these work bit by bit
_BITWISE = {"and": "BitwiseAnd", "or": "BitwiseOr", "xor": "BitwiseXor", "not": "BitwiseNot"}
COMPARISONS = {"EQ": "Equal", "GE": "GreaterOrEqual", "GT": "Greater", "LE": "LessOrEqual", "LT": "Less"}


def _lower(context: Context, op: Op, kind: str, inputs: list[Value], **attrs: object) -> None:
    perm = context.choose(inputs, op.output.rank)
    context.emit(kind, op, [operand(context, value, perm, op) for value in inputs], perm, **attrs)


def operand(context: Context, value: Value, perm: Perm, op: Op) -> Tensor:
    """`value` in layout `perm`; a constant also loses the leading 1s that ONNX broadcasting supplies.

    One that is the same number everywhere becomes that number, if the other operands have the result's shape.
    """
    if value.data is None:
        # a scalar (the condition of a select) broadcasts in any layout
        return context.layouts.get(value, perm if value.rank == len(perm) else (), op.where)
    data = value.data.transpose(perm) if value.rank == len(perm) else value.data
    # a number in the place of another constant gives no shape either
    others = [
        tuple(map(int, other.shape)) for other in op.inputs if other is not value and not _uniform(other.data)
    ]
    spread = bool(others) and np.broadcast_shapes(*others) == tuple(map(int, op.output.shape))
    if spread and _uniform(data):
        data = data.reshape(-1)[0].reshape(())
    while data.ndim and data.shape[0] == 1:
        data = data[0]
    return context.graph.constant(data, value.name)


def _uniform(data: np.ndarray | None) -> bool:
    """True if this is a constant that holds one number everywhere."""
    if data is None or not data.size:
        return False
    flat = data.reshape(-1)
    return bool(flat[0] == flat[-1] and (flat == flat[0]).all())


def _simple(context: Context, op: Op) -> None:
    perm = _of_convolution(context, op) if op.kind == "add" else None
    if perm is not None:
        context.emit("Add", op, [operand(context, value, perm, op) for value in op.inputs], perm)
        return
    bits = op.kind in _BITWISE and op.output.dtype != np.bool_
    _lower(context, op, _BITWISE[op.kind] if bits else SIMPLE[op.kind], op.inputs)


def _of_convolution(context: Context, op: Op) -> Perm | None:
    """The layout in which a convolution left an operand of a sum of two images.

    TensorRT adds in the kernel of the convolution if both are in that layout. The Transpose of the other
    operand, if it needs one, is a part of the kernel that makes it.
    """
    if any(value.data is not None or value.shape != op.output.shape for value in op.inputs):
        return None
    for value in op.inputs:
        perms = context.layouts.perms(value)
        tensor = context.layouts.get(value, perms[0], op.where)
        maker = context.graph.makers.get(tensor.name)
        if len(perms) == 1 and maker is not None and maker.kind == "Conv":
            return perms[0]
    return None


def _compare(context: Context, op: Op) -> None:
    direction = str(op.attrs["comparison_direction"]).split()[-1].strip(">")
    if direction != "NE":
        _lower(context, op, COMPARISONS[direction], op.inputs)
        return
    perm = context.choose(op.inputs, op.output.rank)
    inputs = [operand(context, value, perm, op) for value in op.inputs]
    equal = context.graph.node("Equal", inputs, permute(op.output.shape, perm), op.output.dtype, op.where)
    context.emit("Not", op, [equal], perm)


def _select(context: Context, op: Op) -> None:
    """Where; ONNX Runtime has none of flags: (condition and one) or (not condition and other)."""
    if op.output.dtype != np.bool_:
        _lower(context, op, "Where", op.inputs)
        return
    perm = context.choose(op.inputs, op.output.rank)
    condition, one, other = (operand(context, value, perm, op) for value in op.inputs)

    def node(kind: str, *inputs: Tensor) -> Tensor:
        shape = functools.reduce(_broadcast, (tensor.shape for tensor in inputs))
        return context.graph.node(kind, inputs, shape, op.output.dtype, op.where)

    chosen = node("And", condition, one), node("And", node("Not", condition), other)
    context.emit("Or", op, chosen, perm)


def _broadcast(one: Shape, other: Shape) -> Shape:
    """The shape of an element-wise result, dimensions that follow the batch kept as such."""
    pairs = itertools.zip_longest(reversed(one), reversed(other), fillvalue=1)
    return tuple(b if a == 1 else a for a, b in pairs)[::-1]


def _rsqrt(context: Context, op: Op) -> None:
    perm = context.choose(op.inputs, op.output.rank)
    x = operand(context, op.inputs[0], perm, op)
    root = context.graph.node("Sqrt", [x], x.shape, x.dtype, op.where)
    context.emit("Reciprocal", op, [root], perm)


def _atan2(context: Context, op: Op) -> None:
    """The angle of (x, y): arctan(y / x), moved by pi towards the sign of y where x < 0. -0 counts as 0."""
    graph, where, out = context.graph, op.where, op.output
    perm = context.choose(op.inputs, out.rank)
    y, x = (operand(context, value, perm, op) for value in op.inputs)
    shape, boolean = permute(out.shape, perm), np.dtype(np.bool_)

    def node(kind: str, *inputs: Tensor, dtype: np.dtype = out.dtype) -> Tensor:
        return graph.node(kind, inputs, shape, dtype, where)

    zero, pi = (graph.constant(np.array(number, out.dtype)) for number in (0, np.pi))
    at_origin = node(
        "And", node("Equal", x, zero, dtype=boolean), node("Equal", y, zero, dtype=boolean), dtype=boolean
    )
    divisor = node("Where", at_origin, graph.constant(np.array(1, out.dtype)), x)
    angle = node("Atan", node("Div", y, divisor))
    turn = node(
        "Where", node("Less", y, zero, dtype=boolean), graph.constant(np.array(-np.pi, out.dtype)), pi
    )
    moved = node("Add", angle, turn)
    context.emit("Where", op, [node("Less", x, zero, dtype=boolean), moved, angle], perm)


def _remainder(context: Context, op: Op) -> None:
    """The sign of the dividend, as in C."""
    _lower(context, op, "Mod", op.inputs, fmod=1)


def _convert(context: Context, op: Op) -> None:
    _lower(context, op, "Cast", op.inputs, to=onnx_type(op.output.dtype))


def _erfc(context: Context, op: Op) -> None:
    """1 - erf(x): as exact as the sum, not as erfc itself where it is small."""
    perm = context.choose(op.inputs, op.output.rank)
    x = operand(context, op.inputs[0], perm, op)
    error = context.graph.node("Erf", [x], x.shape, x.dtype, op.where)
    context.emit("Sub", op, [context.graph.constant(np.array(1, op.output.dtype)), error], perm)


def _gelu(context: Context, op: Op) -> None:
    """Made by the GELU pass."""
    _lower(context, op, "Gelu", op.inputs, approximate=op.attrs["approximate"])


def _clamp(context: Context, op: Op) -> None:
    """Clip for constant numbers, else Max and Min."""
    low, x, high = op.inputs
    bounds = [bound.data for bound in (low, high) if bound.data is not None and bound.data.size == 1]
    if len(bounds) == 2:
        scalars = [Value((), x.dtype, data.reshape(())) for data in bounds]
        _lower(context, op, "Clip", [x, *scalars])
        return
    perm = context.choose([x], x.rank)
    raised = [operand(context, value, perm, op) for value in (x, low)]
    above = context.graph.node("Max", raised, raised[0].shape, x.dtype, op.where)
    context.emit("Min", op, [above, operand(context, high, perm, op)], perm)


LOWERINGS = {
    **dict.fromkeys(SIMPLE, _simple),
    "compare": _compare,
    "select": _select,
    "rsqrt": _rsqrt,
    "remainder": _remainder,
    "atan2": _atan2,
    "convert": _convert,
    "clamp": _clamp,
    "erfc": _erfc,
    "gelu": _gelu,
}
