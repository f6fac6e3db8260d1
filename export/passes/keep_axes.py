"""A mean whose reduced axes are put back at once keeps them: reshape(reduce_mean(x)) -> one node.

Squeeze-and-excitation averages a map to (b, c) and convolves it as (b, 1, 1, c).
"""

from __future__ import annotations

from export.lower.program import Matcher, Op, Program, Value


def keep_reduced_axes(program: Program) -> None:
    """Recognise reshapes and broadcasts that restore the axes of a mean, also behind a conversion."""
    match = Matcher(program)
    replaced: dict[Value, Value] = {}
    for op in program.ops:
        if op.kind not in ("reshape", "broadcast_in_dim") or not match.once(op.inputs[0]):
            continue
        convert = match.made_by(op.inputs[0], "convert")
        mean = match.made_by(convert.inputs[0] if convert else op.inputs[0], "reduce_mean")
        if mean is None or mean.attrs["keepdims"] or not match.once(mean.output):
            continue
        if _restores_axes(op, mean):
            mean.attrs = {**mean.attrs, "keepdims": True}
            for changed in filter(None, (mean, convert)):
                kept = Value(op.output.shape, changed.output.dtype)
                replaced[changed.output] = kept
                changed.outputs = [kept]
            replaced[op.output] = (convert or mean).output
    program.replace(replaced)
    program.remove_dead()


def _restores_axes(op: Op, mean: Op) -> bool:
    axes, (x,) = mean.attrs["dimensions"], mean.inputs
    if op.output.shape != tuple(1 if axis in axes else size for axis, size in enumerate(x.shape)):
        return False
    left = tuple(axis for axis in range(x.rank) if axis not in axes)
    return op.kind == "reshape" or tuple(op.attrs["broadcast_dimensions"]) == left
