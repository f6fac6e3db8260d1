"""convolution(x, w) + b -> convolution(x, w, b), for a constant b that varies along the output channels
only."""

from __future__ import annotations

from export.lower.program import Matcher, Op, Program, Value


def fold_bias(program: Program) -> None:
    """Move a per-channel constant added to a convolution or a linear map into it."""
    match = Matcher(program)
    replaced: dict[Value, Value] = {}
    gone = set()
    for add in program.ops:
        if add.kind != "add":
            continue
        for product, other in (add.inputs, add.inputs[::-1]):
            op = match.made_by(product, "convolution", "linear")
            if op is None or len(op.inputs) != 2 or not match.once(product) or other.data is None:
                continue
            bias = _per_channel(other, channel_axis(op), add.output.rank)
            if bias is not None and product.shape == add.output.shape:
                op.inputs = [*op.inputs, bias]
                replaced[add.output] = product
                gone.add(id(add))
                break
    program.ops = [op for op in program.ops if id(op) not in gone]
    program.replace(replaced)


def channel_axis(op: Op) -> int:
    """The dimension of a convolution's or linear map's result that its output channels are."""
    if op.kind == "linear":
        return op.output.rank - 1
    return op.attrs["dimension_numbers"]["output_feature_dimension"]


def _per_channel(value: Value, axis: int, rank: int) -> Value | None:
    data = value.data
    if data is None or data.ndim != rank or data.size != data.shape[axis] or data.size == 1:
        return None
    return Value((data.size,), value.dtype, data.reshape(-1), value.name)
