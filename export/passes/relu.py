"""max(x, 0) -> relu."""

from __future__ import annotations

from export.lower.program import Matcher, Program


def raise_relu(program: Program) -> None:
    """Turn a maximum with the constant zero into `relu`."""
    match = Matcher(program)
    for op in program.ops:
        if op.kind != "maximum" or op.output.dtype.kind in "iu":  # TensorRT has none for integers
            continue
        for x, other in (op.inputs, op.inputs[::-1]):
            if x.shape == op.output.shape and x.data is None and match.scalar(other) == 0.0:
                op.kind, op.inputs = "relu", [x]
                break
