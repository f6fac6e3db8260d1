"""reduce_sum / constant n -> reduce_mean, where n is the number of elements summed.

In float16 and bfloat16 JAX sums in float32: convert -> sum -> divide -> convert. These casts stay: they cost
no kernel around a mean (docs/export-decisions.md), and a sum in float16 can overflow.
"""

from __future__ import annotations

import math

from export.lower.program import Batch, Matcher, Op, Program, Value
from export.lower.reduce import is_neutral


def raise_mean(program: Program) -> None:
    """Recognise means written as a sum and a division (or a multiplication by 1/n)."""
    match = Matcher(program)
    for op in program.ops:
        if op.kind not in ("divide", "multiply"):
            continue
        for total, factor in (op.inputs, op.inputs[::-1]) if op.kind == "multiply" else (op.inputs,):
            if _is_mean(match, op, total, factor):
                break


def _is_mean(match: Matcher, op: Op, total: Value, factor: Value) -> bool:
    number = match.scalar(factor)
    keep = match.made_by(total, "reshape")
    summed = match.made_by(keep.inputs[0] if keep else total, "reduce")
    if number is None or summed is None or summed.attrs["reducer"] != "add":
        return False
    if not is_neutral("add", summed.inputs[1].data) or not match.once(total) or not match.once(summed.output):
        return False
    x, axes = summed.inputs[0], summed.attrs["dimensions"]
    if any(isinstance(x.shape[axis], Batch) for axis in axes):
        return False
    count = math.prod(x.shape[axis] for axis in axes)
    if not math.isclose(number, count if op.kind == "divide" else 1 / count, rel_tol=1e-6):
        return False
    kept = tuple(1 if axis in axes else size for axis, size in enumerate(x.shape))
    if keep is not None and op.output.shape != kept:
        return False
    op.kind, op.inputs = "reduce_mean", [x]
    op.attrs = {"dimensions": axes, "keepdims": keep is not None}
    return True


def narrow_islands(program: Program, kinds: tuple[str, ...]) -> None:
    """convert(kind(convert(x))) -> kind(x), when both conversions only widen and narrow back around it."""
    match = Matcher(program)
    replaced: dict[Value, Value] = {}
    for op in program.ops:
        if op.kind != "convert":
            continue
        inner = match.made_by(op.inputs[0], *kinds)
        if inner is None or not match.once(inner.output):
            continue
        widen = match.made_by(inner.inputs[0], "convert")
        if widen is None or widen.inputs[0].dtype != op.output.dtype:
            continue
        if widen.output.dtype.itemsize <= op.output.dtype.itemsize or op.output.dtype.kind in "iub":
            continue
        inner.inputs = [widen.inputs[0]]
        inner.outputs = [Value(inner.output.shape, op.output.dtype)]
        replaced[op.output] = inner.output
    program.replace(replaced)
    program.remove_dead()
