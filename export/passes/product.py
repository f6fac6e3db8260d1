"""Products as mathematics writes them: one number times some factors, however JAX associated them."""

from __future__ import annotations

import math

import numpy as np

from export.lower.program import Matcher, Value


def factors(match: Matcher, value: Value, whole: Value | None = None) -> tuple[float, list[Value]]:
    """`value` as (number, factors): products, quotients by numbers and signs are taken apart.

    `whole` is left whole where it is met, also if it is a product itself.
    """
    if value is whole:
        return 1.0, [value]
    number = match.scalar(value)
    if number is not None:
        return number, []
    op = match.made_by(value, "multiply", "divide", "negate")
    if op is None:
        return 1.0, [value]
    if op.kind == "divide":
        divisor = match.scalar(op.inputs[1])
        if divisor is None or divisor == 0:
            return 1.0, [value]
        number, found = factors(match, op.inputs[0], whole)
        return number / divisor, found
    sign, total = -1.0 if op.kind == "negate" else 1.0, []
    for part in op.inputs:
        number, found = factors(match, part, whole)
        sign *= number
        total += found
    return sign, total


def near(number: float, wanted: float, dtype: np.dtype) -> bool:
    """Equal up to the rounding of a few constants in `dtype`."""
    rounding = {2: 2e-2 if dtype.name == "bfloat16" else 3e-3}.get(dtype.itemsize, 1e-5)
    return math.isclose(number, wanted, rel_tol=rounding)
