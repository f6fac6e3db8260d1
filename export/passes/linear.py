"""dot_general(x, constant kernel), one contracted dimension and no batch -> linear(x, kernel as (in,
out))."""

from __future__ import annotations

from export.lower.program import Program, Value


def raise_linear(program: Program) -> None:
    """Turn products with a constant matrix on the right into `linear`, whose layout is free."""
    for op in program.ops:
        if op.kind != "dot_general":
            continue
        numbers = op.attrs["dot_dimension_numbers"]
        x, kernel = op.inputs
        left, right = numbers["lhs_contracting_dimensions"], numbers["rhs_contracting_dimensions"]
        if numbers["lhs_batching_dimensions"] or len(left) != 1 or x.data is not None:
            continue
        if kernel.data is None or kernel.rank != 2:
            continue
        data = kernel.data if right[0] == 0 else kernel.data.T
        op.kind, op.attrs = "linear", {"axis": left[0]}
        op.inputs = [x, Value(data.shape, kernel.dtype, data, kernel.name)]
