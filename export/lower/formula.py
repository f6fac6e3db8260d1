"""Element-wise functions that ONNX has no operator for, written as formulas that keep their precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from export.lower.context import Context
from export.lower.elementwise import operand
from export.lower.graph import Tensor, onnx_type
from export.lower.layout import permute
from export.lower.program import Op, UnsupportedError

# A piece of the inverse error function: Giles, "Approximating the erfinv function" (2012), single precision;
# the polynomials that XLA uses, below and above w = 5.
_ERF_INV_CENTRE = (
    2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087,
    -0.00125372503, -0.00417768164, 0.246640727, 1.50140941,
)  # fmt: skip
_ERF_INV_TAIL = (
    -0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773,
    -0.0076224613, 0.00943887047, 1.00167406, 2.83297682,
)  # fmt: skip


class _Formula:
    """Nodes of one formula, all in the layout and shape of the result."""

    def __init__(self, context: Context, op: Op):
        self.context, self.op, self.graph = context, op, context.graph
        self.perm = context.choose(op.inputs, op.output.rank)
        self.shape = permute(op.output.shape, self.perm)
        self.inputs = [operand(context, value, self.perm, op) for value in op.inputs]

    def number(self, value: float, like: Tensor) -> Tensor:
        return self.graph.constant(np.array(value).astype(like.dtype))

    def node(self, kind: str, *inputs: Tensor | float, dtype: Any = None, **attrs: Any) -> Tensor:
        """A node; plain numbers become constants of the type of the first tensor."""
        first = next(tensor for tensor in inputs if isinstance(tensor, Tensor) and tensor.dtype != np.bool_)
        tensors = [item if isinstance(item, Tensor) else self.number(item, first) for item in inputs]
        dtype = np.dtype(first.dtype if dtype is None else dtype)
        return self.graph.node(kind, tensors, self.shape, dtype, self.op.where, **attrs)

    def cast(self, x: Tensor, dtype: Any) -> Tensor:
        dtype = np.dtype(dtype)
        return self.graph.node("Cast", [x], x.shape, dtype, self.op.where, to=onnx_type(dtype))

    def done(self, result: Tensor) -> None:
        self.context.layouts.put(self.op.output, self.perm, result)


def _is_finite(f: _Formula, x: Tensor) -> Tensor:
    """|x| < infinity: false for NaN too."""
    return f.node("Less", f.node("Abs", x), np.inf, dtype=np.bool_)


def _log_plus_one(f: _Formula, x: Tensor) -> Tensor:
    """log(u) x / (u - 1) with u = 1 + x, exact where u is rounded (Kahan); x itself where u is 1."""
    largest = float(ml_dtypes.finfo(x.dtype).max)  # keeps infinity / infinity away
    u = f.node("Min", f.node("Add", x, 1.0), largest)
    ratio = f.node("Div", x, f.node("Sub", u, 1.0))
    same = f.node("Equal", u, 1.0, dtype=np.bool_)
    return f.node("Where", same, x, f.node("Mul", f.node("Log", u), ratio))


def _exponential_minus_one(f: _Formula, x: Tensor) -> Tensor:
    """tanh(x / 2) (exp(x) + 1): nothing cancels."""
    half = f.node("Tanh", f.node("Mul", x, 0.5))
    return f.node("Mul", half, f.node("Add", f.node("Exp", x), 1.0))


def _cbrt(f: _Formula, x: Tensor) -> Tensor:
    return f.node("Mul", f.node("Sign", x), f.node("Pow", f.node("Abs", x), 1 / 3))


def _round_half_away(f: _Formula, x: Tensor) -> Tensor:
    """floor(|x|), one more where at least a half is left, with the sign of x."""
    size = f.node("Abs", x)
    whole = f.node("Floor", size)
    rest = f.node("GreaterOrEqual", f.node("Sub", size, whole), 0.5, dtype=np.bool_)
    return f.node("Mul", f.node("Sign", x), f.node("Add", whole, f.cast(rest, x.dtype)))


def _shift(kind: str) -> Callable[[_Formula, Tensor, Tensor], Tensor]:
    def shifted(f: _Formula, x: Tensor, by: Tensor) -> Tensor:
        """By a constant to the left: a product. Else on unsigned numbers, the only ones that BitShift takes
        (and TensorRT does not have)."""
        data = f.graph.initializers.get(by.name)
        if kind == "LEFT" and data is not None and data.size == 1:
            return f.node("Mul", x, 2 ** int(data.reshape(())))
        unsigned = np.dtype(f"uint{8 * x.dtype.itemsize}")
        moved = f.node("BitShift", f.cast(x, unsigned), f.cast(by, unsigned), direction=kind)
        return f.cast(moved, x.dtype)

    return shifted


def _shift_arithmetic(f: _Formula, x: Tensor, by: Tensor) -> Tensor:
    """x divided by 2^n, rounded down; n must be a constant number."""
    data = f.graph.initializers.get(by.name)
    if data is None or data.size != 1:
        raise UnsupportedError(f.op.where, "a shift of signed integers by computed numbers")
    step = 2 ** int(data.reshape(()))
    if x.dtype.kind == "u":
        return f.node("Div", x, step)
    below = f.node("Less", x, 0, dtype=np.bool_)
    return f.node("Div", f.node("Where", below, f.node("Sub", x, step - 1), x), step)


def _reduce_precision(f: _Formula, x: Tensor) -> Tensor:
    bits = (int(f.op.attrs["exponent_bits"]), int(f.op.attrs["mantissa_bits"]))
    own = ml_dtypes.finfo(x.dtype)
    if bits[0] >= own.nexp and bits[1] >= own.nmant:
        return f.node("Identity", x)
    narrow = {(5, 10): np.float16, (8, 7): ml_dtypes.bfloat16}.get(bits)
    if narrow is None:
        why = (
            f"rounding to {bits[0]} exponent and {bits[1]} mantissa bits has no ONNX form (5, 10 and 8, 7 do)"
        )
        raise UnsupportedError(f.op.where, why)
    return f.cast(f.cast(x, narrow), x.dtype)


def _erf_inv(f: _Formula, x: Tensor) -> Tensor:
    one = f.node("Sub", 1.0, f.node("Mul", x, x))
    w = f.node("Neg", f.node("Log", one))
    centre = f.node("Less", w, 5.0, dtype=np.bool_)
    w = f.node("Where", centre, f.node("Sub", w, 2.5), f.node("Sub", f.node("Sqrt", w), 3.0))
    series = []
    for numbers in (_ERF_INV_CENTRE, _ERF_INV_TAIL):
        total = f.node("Add", f.node("Mul", w, numbers[0]), numbers[1])
        for number in numbers[2:]:
            total = f.node("Add", f.node("Mul", total, w), number)
        series.append(total)
    return f.node("Mul", f.node("Where", centre, *series), x)


FORMULAS: dict[str, Callable[..., Tensor]] = {
    "is_finite": _is_finite,
    "log_plus_one": _log_plus_one,
    "exponential_minus_one": _exponential_minus_one,
    "cbrt": _cbrt,
    "round_nearest_afz": _round_half_away,
    "shift_left": _shift("LEFT"),
    "shift_right_logical": _shift("RIGHT"),
    "shift_right_arithmetic": _shift_arithmetic,
    "reduce_precision": _reduce_precision,
    "erf_inv": _erf_inv,
}


def _lower(context: Context, op: Op) -> None:
    formula = _Formula(context, op)
    formula.done(FORMULAS[op.kind](formula, *formula.inputs))


LOWERINGS = dict.fromkeys(FORMULAS, _lower)
