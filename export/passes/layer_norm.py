"""(x - mean) / sqrt(var + eps) * scale + bias over the last axes -> layer_norm; over all but the batch, or
all but batch and channels -> group_norm of one group, or of as many as there are channels.

The variance may be the mean of (x - mean)^2 or, as Flax writes it, max(0, mean(x^2) - mean^2). In half
precision JAX widens x to float32 and narrows the result; LayerNormalization has both inside (stash_type), so
the casts go. What else reads a part of the pattern keeps it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from export.lower.program import Matcher, Op, Program, Value, constant
from export.passes.product import factors


@dataclass
class _Core:
    """`(x - mean) * rsqrt(var + epsilon)`, perhaps times a constant, over the axes."""

    x: Value
    axes: tuple[int, ...]
    epsilon: float
    scale: Value | None


def raise_layer_norm(program: Program) -> None:
    """Recognise normalisation over the last axes by their own mean and variance."""
    match = Matcher(program)
    readers = program.readers()
    for op in program.ops:
        core = _core(match, op) if op.kind == "multiply" else None
        if core is not None:
            _raise(match, readers, op, core)
    program.remove_dead()


def _core(match: Matcher, op: Op) -> _Core | None:
    constants = []
    scale, rest = factors(match, op.output)
    for value in rest[:]:
        if value.data is not None:
            constants.append(value)
            rest.remove(value)
    if len(rest) != 2 or len(constants) > 1 or scale != 1.0:
        return None
    for centred, root in (rest, rest[::-1]):
        inverse = match.made_by(root, "rsqrt")
        minus = match.made_by(centred, "subtract")
        if inverse is None or minus is None:
            continue
        x = minus.inputs[0]
        mean = match.made_by(_kept(match, minus.inputs[1]), "reduce_mean")
        shifted = match.made_by(inverse.inputs[0], "add")
        if mean is None or shifted is None or mean.inputs[0] is not x or x.shape != op.output.shape:
            continue
        axes = tuple(sorted(mean.attrs["dimensions"]))
        epsilons = [(v, n) for v, o in _both(shifted.inputs) if (n := match.scalar(o)) is not None]
        if not epsilons or (axes != tuple(range(axes[0], x.rank)) and not _is_instance(x, axes)):
            continue
        variance, epsilon = epsilons[0]
        kept = tuple(1 if axis in axes else size for axis, size in enumerate(x.shape))
        if root.shape != kept or minus.inputs[1].shape != kept:
            continue
        if _is_variance(match, _kept(match, variance), x, centred, mean.output, axes):
            return _Core(x, axes, epsilon, constants[0] if constants else None)
    return None


def _is_instance(x: Value, axes: tuple[int, ...]) -> bool:
    """Whether each channel of each image is normalised by itself."""
    spatial = tuple(range(1, x.rank - 1))
    return bool(spatial) and axes == spatial and any(x.shape[axis] != 1 for axis in axes)


def _both(pair: list[Value]) -> tuple[tuple[Value, Value], tuple[Value, Value]]:
    return (pair[0], pair[1]), (pair[1], pair[0])


def _kept(match: Matcher, value: Value) -> Value:
    """The value before a reshape that only gave reduced axes back."""
    op = match.made_by(value, "reshape", "broadcast_in_dim")
    if op is None or [d for d in op.inputs[0].shape if d != 1] != [d for d in value.shape if d != 1]:
        return value
    return op.inputs[0]


def _is_variance(
    match: Matcher, value: Value, x: Value, centred: Value, mean: Value, axes: tuple[int, ...]
) -> bool:
    """mean(centred^2), or max(0, mean(x^2) - mean^2)."""
    guard = match.made_by(value, "maximum")
    if guard is not None:
        inner = [v for v, zero in _both(guard.inputs) if match.scalar(zero) == 0.0]
        value = inner[0] if inner else value
    relu = match.made_by(value, "relu")
    value = relu.inputs[0] if relu is not None else value
    fast = match.made_by(value, "subtract")
    if fast is not None:
        squares, squared = (_kept(match, v) for v in fast.inputs)
        product = match.made_by(squared, "multiply")
        if product is None or any(_kept(match, v) is not mean for v in product.inputs):
            return False
        return _is_mean_square(match, squares, x, axes)
    return _is_mean_square(match, value, centred, axes)


def _is_mean_square(match: Matcher, value: Value, base: Value, axes: tuple[int, ...]) -> bool:
    mean = match.made_by(_kept(match, value), "reduce_mean")
    if mean is None or tuple(sorted(mean.attrs["dimensions"])) != axes:
        return False
    square = match.made_by(mean.inputs[0], "multiply")
    return square is not None and square.inputs[0] is square.inputs[1] is base


def _raise(match: Matcher, readers: dict[Value, list[Op]], op: Op, core: _Core) -> None:
    """Make the last operation of the pattern a layer_norm: it takes in scale, bias and casts on the way."""
    alone = _is_instance(core.x, core.axes)
    shape = core.x.shape[-1:] if alone else core.x.shape[core.axes[0] :]
    scale, bias, last = core.scale, None, op
    if scale is not None and not _fits(scale, shape):
        return
    while match.once(last.output) and len(readers.get(last.output, ())) == 1:
        reader = readers[last.output][0]
        others = [value for value in reader.inputs if value is not last.output]
        if len(others) != 1 or others[0].data is None or not _fits(others[0], shape):
            break
        if reader.kind == "multiply" and scale is None and bias is None:
            scale = others[0]
        elif reader.kind == "add" and bias is None:
            bias = others[0]
        else:
            break
        last = reader
    by_channel = alone or len(core.axes) == core.x.rank - 1 > 1
    if by_channel:
        shape = shape[-1:]
        if not all(value is None or _fits(value, shape) for value in (scale, bias)):
            return
    x, narrow = core.x, None
    widen = match.made_by(x, "convert")
    if widen is not None and match.once(last.output) and len(readers.get(last.output, ())) == 1:
        reader = readers[last.output][0]
        if reader.kind == "convert" and reader.output.dtype == widen.inputs[0].dtype:
            narrow = reader
    if narrow is not None and widen is not None:
        x, last = widen.inputs[0], narrow
    dtype = x.dtype
    inputs = [x, _parameter(scale, shape, 1, dtype)]
    if bias is not None or by_channel:
        inputs.append(_parameter(bias, shape, 0, dtype))
    last.kind, last.inputs = ("group_norm" if by_channel else "layer_norm"), inputs
    last.attrs = {"axes": core.axes, "epsilon": core.epsilon}
    if alone:
        last.attrs["groups"] = shape[-1]


def _fits(value: Value, shape: tuple[int, ...]) -> bool:
    """True for a constant that varies along the normalised axes only."""
    if value.data is None:
        return False
    sizes = value.data.shape
    inner = sizes[max(0, len(sizes) - len(shape)) :]
    same = all(a in (1, b) for a, b in zip(inner[::-1], shape[::-1], strict=False))
    return same and value.data.size == np.prod(inner, dtype=int)


def _parameter(value: Value | None, shape: tuple[int, ...], default: int, dtype: np.dtype) -> Value:
    if value is None or value.data is None:
        return constant(np.full(shape, default, dtype))
    data = value.data.reshape(value.data.shape[max(0, value.data.ndim - len(shape)) :])
    return constant(np.ascontiguousarray(np.broadcast_to(data, shape), dtype), value.name)
