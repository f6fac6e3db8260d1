"""exp(x - max(x)) / sum(exp(x - max(x))) -> softmax.

    m = reduce max(x, axis); m = max(m, -inf); e = exp(x - m); softmax = e / reduce sum(e, axis)

The maximum may pass through `max(-inf, .)` and through reshapes that only add the reduced axis back.
In float16 and bfloat16 graphs the casts to float32 and back stay around it: TensorRT takes them into its
attention kernel (docs/export-decisions.md).
"""

from __future__ import annotations

import numpy as np

from export.lower.program import Matcher, Op, Program, Value
from export.lower.reduce import is_neutral


def raise_softmax(program: Program) -> None:
    """Recognise softmax over one axis."""
    match = Matcher(program)
    for op in program.ops:
        if op.kind != "divide":
            continue
        found = _softmax(match, op)
        if found is not None:
            x, axis = found
            op.kind, op.inputs, op.attrs = "softmax", [x], {"axis": axis}


def _softmax(match: Matcher, divide: Op) -> tuple[Value, int] | None:
    top, bottom = divide.inputs
    exp = match.made_by(top, "exponential")
    if exp is None or match.count[top] != 2:
        return None
    bottom_source = _squeezed(match, bottom)
    narrow = match.made_by(bottom_source, "convert")  # half precision is summed in float32
    total = match.made_by(_squeezed(match, narrow.inputs[0]) if narrow else bottom_source, "reduce")
    if total is None or _widened(match, total.inputs[0]) is not top or total.attrs["reducer"] != "add":
        return None
    axes = total.attrs["dimensions"]
    if len(axes) != 1 or not is_neutral("add", total.inputs[1].data):
        return None
    minus = match.made_by(exp.inputs[0], "subtract")
    if minus is None:
        return None
    x = minus.inputs[0]
    peak = _squeezed(match, minus.inputs[1])
    moved = match.made_by(peak, "transpose")  # jax.vmap reduces first and moves the axes then
    peak = _squeezed(match, moved.inputs[0]) if moved is not None else peak
    guard = match.made_by(peak, "maximum")
    if guard is not None:
        low, high = guard.inputs
        peak = high if match.scalar(low) == -np.inf else low if match.scalar(high) == -np.inf else peak
    largest = match.made_by(_squeezed(match, peak), "reduce")
    if largest is None or largest.attrs["reducer"] != "maximum":
        return None
    if len(largest.attrs["dimensions"]) != 1 or not is_neutral("maximum", largest.inputs[1].data):
        return None
    if not _same_rows(match, x, axes[0], largest, moved):
        return None
    kept = tuple(1 if a == axes[0] else size for a, size in enumerate(x.shape))
    if bottom.shape != kept or minus.inputs[1].shape != kept:
        return None
    return x, axes[0]


def _same_rows(match: Matcher, x: Value, axis: int, largest: Op, moved: Op | None) -> bool:
    """Whether the maximum, moved by the transpose `moved` if there is one, is that of `x` over `axis`."""
    source, reduced = largest.inputs[0], largest.attrs["dimensions"][0]
    order = tuple(range(x.rank))
    if source is not x:
        transpose = match.made_by(x, "transpose")
        if transpose is None or transpose.inputs[0] is not source:
            return False
        order = tuple(transpose.attrs["permutation"])
    if order[axis] != reduced:
        return False
    left = [a for a in range(source.rank) if a != reduced]
    if moved is not None:
        if len(moved.attrs["permutation"]) != len(left):
            return False
        left = [left[a] for a in moved.attrs["permutation"]]
    wanted = [a for a in order if a != reduced]
    # where dimensions of size 1 stand makes no difference
    return [a for a in left if source.shape[a] != 1] == [a for a in wanted if source.shape[a] != 1]


def _widened(match: Matcher, value: Value) -> Value:
    """The value before a conversion to a wider type."""
    op = match.made_by(value, "convert")
    if (
        op is None
        or op.inputs[0].dtype.kind not in "fV"
        or op.inputs[0].dtype.itemsize >= value.dtype.itemsize
    ):
        return value
    return op.inputs[0]


def _squeezed(match: Matcher, value: Value) -> Value:
    """The value before reshapes and broadcasts that only added dimensions of size 1."""
    while (op := match.made_by(value, "reshape", "broadcast_in_dim")) is not None:
        source = op.inputs[0]
        if [d for d in source.shape if d != 1] != [d for d in value.shape if d != 1]:
            break
        value = source
    return value
