"""Group norm as Flax writes it -> group_norm, which ONNX has as one node since opset 21.

    groups = reshape(x, (b, h, w, g, c / g));  mean, var = their statistics, (b, g)
    (x - repeat(mean)) * (rsqrt(repeat(var) + epsilon) * scale) + bias

The variance may be the mean of squares less the square of the mean, or the mean of the squared difference.
Half precision is widened for the statistics, which GroupNormalization does itself (stash_type).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from export.lower.program import Matcher, Op, Program, Shape, Value, constant, static
from export.passes.product import factors


@dataclass
class _Stats:
    """`value` (b, g): a mean over all but the batch and the groups, of `source`, (b, ..., g, c / g)."""

    groups: int
    mean: Op


def raise_group_norm(program: Program) -> None:
    """Recognise normalisation by statistics that several channels share."""
    match = Matcher(program)
    readers = program.readers()
    for op in program.ops:
        if op.kind == "multiply" and op.output.rank > 2:
            _raise(match, readers, op)
    program.remove_dead()


def _raise(match: Matcher, readers: dict[Value, list[Op]], op: Op) -> None:
    number, rest = factors(match, op.output)
    constants = [value for value in rest if value.data is not None]
    rest = [value for value in rest if value.data is None]
    if number != 1.0 or len(rest) != 2 or len(constants) > 1:
        return
    for centred, root in (rest, rest[::-1]):
        inverse, minus = match.made_by(root, "rsqrt"), match.made_by(centred, "subtract")
        if inverse is None or minus is None:
            continue
        x = minus.inputs[0]
        stats = _stats(match, minus.inputs[1], x)
        shifted = match.made_by(inverse.inputs[0], "add")
        if stats is None or shifted is None or x.shape != op.output.shape:
            continue
        for variance, other in (shifted.inputs, shifted.inputs[::-1]):
            epsilon = match.scalar(other)
            if epsilon is not None and _is_variance(match, variance, x, stats):
                _write(match, readers, op, x, stats.groups, epsilon, constants)
                return


def _stats(match: Matcher, value: Value, x: Value) -> _Stats | None:
    """The mean behind `value`, (b, 1, ..., 1, c), that repeats one number per group for its channels."""
    channels = x.shape[-1]
    if value.shape != (x.shape[0], *(1 for _ in x.shape[1:-1]), channels):
        return None
    value = _unrepeated(match, value)
    mean = match.made_by(value, "reduce_mean")
    if mean is None or value.rank != 2 or mean.inputs[0].rank != x.rank + 1:
        return None
    rank, groups = x.rank, int(value.shape[1])
    wanted: Shape = (*x.shape[:-1], groups, channels // groups)
    axes = (*range(1, rank - 1), rank)
    if mean.inputs[0].shape != wanted or tuple(sorted(mean.attrs["dimensions"])) != axes:
        return None
    return _Stats(groups, mean) if static(x.shape[1:]) and math.prod(x.shape[1:-1]) > 1 else None


def _unrepeated(match: Matcher, value: Value) -> Value:
    """(b, g) before it became (b, g, c / g) by a broadcast, and that (b, c) and (b, 1, 1, c) by reshapes."""
    while (op := match.made_by(value, "reshape", "broadcast_in_dim")) is not None:
        source = op.inputs[0]
        if op.kind == "broadcast_in_dim" and math.prod(source.shape) != math.prod(value.shape):
            repeats = value.rank == 3 and tuple(op.attrs["broadcast_dimensions"]) == (0, 1)
            return source if repeats else value
        value = source
    return value


def _is_variance(match: Matcher, value: Value, x: Value, stats: _Stats) -> bool:
    channels = x.shape[-1]
    if value.shape != (x.shape[0], *(1 for _ in x.shape[1:-1]), channels):
        return False
    value = _unrepeated(match, value)
    guard = match.made_by(value, "relu")
    value = guard.inputs[0] if guard is not None else value
    fast = match.made_by(value, "subtract")
    groups = stats.mean.inputs[0]
    if _grouped(match, groups) is not _unwidened(match, x) or value.shape != stats.mean.output.shape:
        return False
    if fast is None:
        squares = match.made_by(value, "reduce_mean")
        base = match.made_by(squares.inputs[0], "multiply") if squares else None
        if base is None or base.inputs[0] is not base.inputs[1]:
            return False
        minus = match.made_by(base.inputs[0], "subtract")
        centre = match.made_by(minus.inputs[1], "reshape", "broadcast_in_dim") if minus else None
        right = minus is not None and minus.inputs[0] is groups
        right = right and centre is not None and centre.inputs[0] is stats.mean.output
        return right and squares is not None and squares.attrs["dimensions"] == stats.mean.attrs["dimensions"]
    squares, squared = match.made_by(fast.inputs[0], "reduce_mean"), match.made_by(fast.inputs[1], "multiply")
    if squares is None or squared is None or any(v is not stats.mean.output for v in squared.inputs):
        return False
    base = match.made_by(squares.inputs[0], "multiply")
    same = base is not None and base.inputs[0] is base.inputs[1] is groups
    return same and tuple(sorted(squares.attrs["dimensions"])) == tuple(
        sorted(stats.mean.attrs["dimensions"])
    )


def _grouped(match: Matcher, value: Value) -> Value | None:
    """x of `reshape(x)`, with its conversion to float32 taken off."""
    value = _unwidened(match, value)
    op = match.made_by(value, "reshape")
    return _unwidened(match, op.inputs[0]) if op is not None else None


def _unwidened(match: Matcher, value: Value) -> Value:
    op = match.made_by(value, "convert")
    narrow = (
        op is not None
        and op.inputs[0].dtype.kind in "fV"
        and op.inputs[0].dtype.itemsize < value.dtype.itemsize
    )
    return op.inputs[0] if op is not None and narrow else value


def _write(
    match: Matcher,
    readers: dict[Value, list[Op]],
    op: Op,
    x: Value,
    groups: int,
    epsilon: float,
    constants: list[Value],
) -> None:
    """Make the last operation of the pattern the norm: it takes in scale, bias and casts on the way."""
    channels = int(x.shape[-1])
    scale, bias, last = (constants[0] if constants else None), None, op
    if scale is not None and not _fits(scale, channels):
        return
    while match.once(last.output) and len(users := readers.get(last.output, [])) == 1:
        reader = users[0]
        others = [value for value in reader.inputs if value is not last.output]
        if len(others) != 1 or not _fits(others[0], channels):
            break
        if reader.kind == "multiply" and scale is None and bias is None:
            scale = others[0]
        elif reader.kind == "add" and bias is None:
            bias = others[0]
        else:
            break
        last = reader
    source = _unwidened(match, x)
    users = readers.get(last.output, [])
    narrows = len(users) == 1 and users[0].kind == "convert" and users[0].output.dtype == source.dtype
    if source is not x and match.once(last.output) and narrows:
        last, x = users[0], source
    inputs = [x]
    for value, default in ((scale, 1), (bias, 0)):
        data = np.full(channels, default) if value is None else np.asarray(value.data).reshape(-1)
        inputs.append(constant(data.astype(x.dtype), "" if value is None else value.name))
    last.kind, last.inputs = "group_norm", inputs
    last.attrs = {"axes": tuple(range(1, x.rank)), "epsilon": epsilon, "groups": groups}


def _fits(value: Value, channels: int) -> bool:
    return value.data is not None and value.data.size == channels == value.shape[-1]
