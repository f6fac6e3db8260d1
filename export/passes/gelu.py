"""GELU in any of its usual spellings -> gelu, which ONNX has as one node since opset 20.

    x/2 (1 + erf(x / sqrt 2))        x/2 erfc(-x / sqrt 2)                     approximate = none
    x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))                              approximate = tanh

Numbers may stand anywhere in the product. In half precision they are rounded to the type of the graph.
"""

from __future__ import annotations

import math

from export.lower.program import Matcher, Op, Program, Value
from export.passes.product import factors, near

CUBIC = 0.044715  # of the tanh form (arXiv 1606.08415)


def raise_gelu(program: Program) -> None:
    """Recognise the exact and the tanh form."""
    match = Matcher(program)
    for op in program.ops:
        found = _gelu(match, op) if op.kind in ("multiply", "divide") else None
        if found is not None:
            x, form = found
            op.kind, op.inputs, op.attrs = "gelu", [x], {"approximate": form}
    program.remove_dead()


def _gelu(match: Matcher, op: Op) -> tuple[Value, str] | None:
    for gate in factors(match, op.output)[1]:
        for x, form in _arguments(match, gate):
            number, found = factors(match, op.output, x)
            rest = [value for value in found if value is not gate]
            if rest == [x] and len(found) == 2 and near(number, 0.5, x.dtype) and x.shape == op.output.shape:
                return x, form
    return None


def _arguments(match: Matcher, gate: Value) -> list[tuple[Value, str]]:
    """Every x for which `gate` is 1 + erf(x / sqrt 2) or 1 + tanh(...)."""
    op = match.made_by(gate, "add", "erfc")
    if op is None:
        return []
    if op.kind == "erfc":
        return [(x, "none") for x in _scaled(match, op.inputs[0], -math.sqrt(0.5))]
    for one, other in (op.inputs, op.inputs[::-1]):
        inner = match.made_by(other, "erf", "tanh")
        if inner is None or match.scalar(one) != 1.0:
            continue
        if inner.kind == "erf":
            return [(x, "none") for x in _scaled(match, inner.inputs[0], math.sqrt(0.5))]
        sums = _scaled(match, inner.inputs[0], math.sqrt(2 / math.pi))
        return [(x, "tanh") for value in sums for x in _cubic(match, value)]
    return []


def _scaled(match: Matcher, value: Value, wanted: float) -> list[Value]:
    """Every x with value = wanted * x: numbers are taken off `value` one after another."""
    found, number = [], 1.0
    while True:
        if near(number, wanted, value.dtype):
            found.append(value)
        op = match.made_by(value, "multiply", "divide", "negate")
        if op is None:
            return found
        if op.kind == "negate":
            number, value = -number, op.inputs[0]
            continue
        pairs = (op.inputs, op.inputs[::-1]) if op.kind == "multiply" else (op.inputs,)
        scaled = [(x, n) for x, other in pairs if (n := match.scalar(other)) is not None]
        if not scaled or scaled[0][1] == 0:
            return found
        value, factor = scaled[0]
        number *= factor if op.kind == "multiply" else 1 / factor


def _cubic(match: Matcher, value: Value) -> list[Value]:
    """[x] if `value` is x + 0.044715 x^3."""
    op = match.made_by(value, "add")
    if op is None:
        return []
    for x, other in (op.inputs, op.inputs[::-1]):
        number, found = factors(match, other, x)
        if found == [x] * 3 and near(number, CUBIC, x.dtype):
            return [x]
    return []
