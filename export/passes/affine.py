"""Scales and shifts per channel behind a convolution or a linear map -> its weights and bias.

    (conv(x, w, b) - mean) * a + c  ->  conv(x, w * a, (b - mean) * a + c)

A batch norm in inference mode and layer scale are written so. In half precision JAX computes the norm in
float32 and narrows the result; the weights are then scaled in float32 and rounded once, and the casts go.
Elsewhere three or more such steps in a row become two.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from export.lower.program import Matcher, Op, Program, Value, constant
from export.passes.bias import channel_axis

_STEPS = ("add", "subtract", "multiply", "divide")


@dataclass
class _Chain:
    """`last.output = source.output * scale + shift`, of what `steps` compute one after another."""

    scale: np.ndarray
    shift: np.ndarray
    steps: list[Op] = field(default_factory=list)
    names: list[str] = field(default_factory=list)


def fold_affine(program: Program) -> None:
    """Take chains of steps with constants per channel into what they follow, or shorten them."""
    match = Matcher(program)
    readers = program.readers()
    replaced: dict[Value, Value] = {}
    taken: set[int] = set()
    for op in list(program.ops):
        if id(op) in taken or len(op.outputs) != 1 or op.output.dtype.kind not in "fV":
            continue
        weighted = op.kind in ("convolution", "linear") and all(v.data is not None for v in op.inputs[1:])
        axis = channel_axis(op) if weighted else op.output.rank - 1
        if op.output.rank < 2:
            continue
        chain = _chain(match, readers, op.output, axis)
        taken.update(id(step) for step in chain.steps)
        if weighted:
            chain = _up_to_own_type(chain, op, match, readers, axis)
            if _worth(chain):
                _into_weights(op, chain, axis)
                replaced[chain.steps[-1].output] = op.output
        elif sum(step.kind != "convert" for step in chain.steps) > 2:
            _shorten(program, op, chain, axis)
    program.replace(replaced)
    program.remove_dead()


def _worth(chain: _Chain) -> bool:
    """A bias alone is `fold_bias`'s, a number alone `fold_scale`'s."""
    kinds = {step.kind for step in chain.steps} - {"convert"}
    number = chain.scale.size == 1 and kinds <= {"multiply", "divide"}
    return bool(kinds) and kinds != {"add"} and not number


def _chain(match: Matcher, readers: dict[Value, list[Op]], value: Value, axis: int) -> _Chain:
    """The steps behind `value`, as far as each is the only reader of the one before."""
    found = _Chain(np.ones(1), np.zeros(1))
    shape = value.shape
    while match.once(value) and len(users := readers.get(value, [])) == 1:
        step = users[0]
        if step.kind == "convert" and step.output.dtype.kind in "fV":
            found.steps.append(step)
            value = step.output
            continue
        if step.kind not in _STEPS or len(step.inputs) != 2 or step.output.shape != shape:
            break
        other = step.inputs[1] if step.inputs[0] is value else step.inputs[0]
        number = _per_channel(match, other, axis, len(shape))
        if number is None or not _apply(found, step.kind, number, step.inputs[0] is value):
            break
        found.steps.append(step)
        if other.name:
            found.names.append(other.name)
        value = step.output
    return found


def _apply(chain: _Chain, kind: str, number: np.ndarray, first: bool) -> bool:
    if kind == "add":
        chain.shift = chain.shift + number
    elif kind == "subtract":
        sign = 1.0 if first else -1.0
        chain.scale, chain.shift = sign * chain.scale, sign * (chain.shift - number)
    elif kind == "multiply":
        chain.scale, chain.shift = chain.scale * number, chain.shift * number
    elif first and number.all():
        chain.scale, chain.shift = chain.scale / number, chain.shift / number
    else:
        return False
    return True


def _per_channel(match: Matcher, value: Value, axis: int, rank: int) -> np.ndarray | None:
    number = match.scalar(value)
    if number is not None:
        return np.full(1, number, np.float64)
    data = value.data
    if data is None or data.ndim != rank or data.size != data.shape[axis]:
        return None
    return data.reshape(-1).astype(np.float64)


def _up_to_own_type(
    chain: _Chain, op: Op, match: Matcher, readers: dict[Value, list[Op]], axis: int
) -> _Chain:
    """The chain as far as it is back in the type of the weights."""
    steps = chain.steps
    if all(step.kind != "convert" for step in steps):
        return chain
    while steps and steps[-1].output.dtype != op.output.dtype:
        steps.pop()
    return _again(match, op.output, steps, axis)


def _again(match: Matcher, value: Value, steps: list[Op], axis: int) -> _Chain:
    """The sum of some steps."""
    found = _Chain(np.ones(1), np.zeros(1), steps)
    rank = value.rank
    for step in steps:
        if step.kind != "convert":
            other = step.inputs[1] if step.inputs[0] is value else step.inputs[0]
            number = _per_channel(match, other, axis, rank)
            assert number is not None
            _apply(found, step.kind, number, step.inputs[0] is value)
            if other.name:
                found.names.append(other.name)
        value = step.output
    return found


def _into_weights(op: Op, chain: _Chain, axis: int) -> None:
    kernel = op.inputs[1]
    place = 1 if op.kind == "linear" else op.attrs["dimension_numbers"]["kernel_output_feature_dimension"]
    channels = op.output.shape[axis]
    shaped = [1] * kernel.rank
    shaped[place] = chain.scale.size
    data = np.asarray(kernel.data).astype(np.float64) * chain.scale.reshape(shaped)
    inputs = [op.inputs[0], Value(kernel.shape, kernel.dtype, data.astype(kernel.dtype), kernel.name)]
    old = op.inputs[2].data if len(op.inputs) > 2 else None
    shift = chain.shift if old is None else chain.shift + old.astype(np.float64) * chain.scale
    if old is not None or shift.any():
        name = op.inputs[2].name if len(op.inputs) > 2 else chain.names[-1] if chain.names else ""
        bias = np.broadcast_to(shift, (int(channels),)).astype(op.output.dtype)
        inputs.append(Value(bias.shape, bias.dtype, np.ascontiguousarray(bias), name))
    op.inputs = inputs


def _shorten(program: Program, op: Op, chain: _Chain, axis: int) -> None:
    """Any number of steps in one type as a product and a sum."""
    dtype = op.output.dtype
    if any(step.kind == "convert" for step in chain.steps) or dtype.itemsize < 4:
        return
    shape, last = op.output.shape, chain.steps[-1]
    along = [-1 if a == axis else 1 for a in range(len(shape))]
    names = chain.names or [""]
    scale = constant(chain.scale.reshape(along).astype(dtype), names[0])
    shift = constant(chain.shift.reshape(along).astype(dtype), names[-1])
    scaled = Value(shape, dtype)
    last.kind, last.inputs, last.attrs = "add", [scaled, shift], {}
    program.ops.insert(program.ops.index(last), Op("multiply", [op.output, scale], [scaled], {}, last.where))
