"""Move the bias of a residual branch behind the concatenation that follows it.

    s = x + linear(y, w, b);  concat(s, z);  conv1x1(s)
      ->  s' = x + linear(y, w);  concat(s', z) + [b, 0];  conv1x1(s') with w b added to its bias

The arithmetic is the same. What changes is the engine: TensorRT copies each operand of a bare concatenation
in a kernel of its own (and once more where a matrix product follows), but writes them all in one kernel if a
pointwise operation follows. Measured in docs/export-decisions.md.
"""

from __future__ import annotations

import numpy as np

from export.lower.program import Op, Program, Value, constant


def sink_bias_behind_concat(program: Program) -> None:
    """Apply the rewrite wherever every other reader of the sum can absorb a constant."""
    maker = program.producers()
    readers = program.readers()
    for concat in [op for op in program.ops if op.kind == "concatenate"]:
        parts = [_movable(maker, readers, value, concat, program.outputs) for value in concat.inputs]
        if any(part is not None for part in parts):
            _move(program, concat, parts, readers)


def _movable(maker: dict, readers: dict, value: Value, concat: Op, outputs: list[Value]) -> Op | None:
    """The biased linear map inside the sum `value`, if its bias can move."""
    add = maker.get(value)
    if add is None or add.kind != "add" or value in outputs or concat.attrs["dimension"] != value.rank - 1:
        return None
    branch = next(
        (op for v in add.inputs if (op := maker.get(v)) is not None and _biased(op, v, readers)), None
    )
    others = [op for op in readers[value] if op is not concat]
    if branch is None or readers[value].count(concat) != 1 or not all(_absorbs(op, value) for op in others):
        return None
    return branch


def _biased(op: Op, value: Value, readers: dict) -> bool:
    return op.kind == "linear" and len(op.inputs) == 3 and len(readers[value]) == 1


def _absorbs(op: Op, value: Value) -> bool:
    """True for f with f(x + b) = f(x) + constant: linear maps and unpadded 1x1 convolutions."""
    if op.inputs[0] is not value or len(op.inputs) != 3 or any(v.data is None for v in op.inputs[1:]):
        return False
    if op.kind == "linear":
        return op.attrs["axis"] == value.rank - 1
    return op.kind == "convolution" and _pointwise(op) and op.attrs.get("feature_group_count", 1) == 1


def _pointwise(op: Op) -> bool:
    numbers, kernel = op.attrs["dimension_numbers"], op.inputs[1]
    window = [kernel.shape[axis] for axis in numbers["kernel_spatial_dimensions"]]
    unpadded = not np.any(op.attrs.get("padding", 0))
    return set(window) == {1} and unpadded and numbers["input_feature_dimension"] == op.inputs[0].rank - 1


def _move(program: Program, concat: Op, parts: list[Op | None], readers: dict) -> None:
    biases, names = [], []
    for value, branch in zip(concat.inputs, parts, strict=True):
        if branch is None:
            biases.append(np.zeros(value.shape[-1], value.dtype))
            continue
        bias = branch.inputs[2]
        assert bias.data is not None
        for op in readers[value]:
            if op is not concat:
                _absorb(op, bias.data)
        branch.inputs = branch.inputs[:2]
        biases.append(bias.data)
        names.append(bias.name)
    joined = np.concatenate(biases).reshape(
        [-1 if a == concat.output.rank - 1 else 1 for a in range(concat.output.rank)]
    )
    bare = Value(concat.output.shape, concat.output.dtype)
    add = Op("add", [bare, constant(joined, "+".join(names))], [concat.output], {}, concat.where)
    concat.outputs = [bare]
    program.ops.insert(program.ops.index(concat) + 1, add)


def _absorb(op: Op, shift: np.ndarray) -> None:
    kernel, bias = op.inputs[1:]
    assert kernel.data is not None and bias.data is not None
    matrix = kernel.data
    if op.kind == "convolution":
        numbers = op.attrs["dimension_numbers"]
        rest = numbers["kernel_spatial_dimensions"]
        matrix = matrix.transpose(
            *rest, numbers["kernel_input_feature_dimension"], numbers["kernel_output_feature_dimension"]
        ).reshape(shift.size, -1)
    data = bias.data.astype(np.float64) + shift.astype(np.float64) @ matrix.astype(np.float64)
    op.inputs = [op.inputs[0], kernel, Value(bias.shape, bias.dtype, data.astype(bias.dtype), bias.name)]
