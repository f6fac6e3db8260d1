"""Program -> ONNX graph: walks the operations once and gives each to its lowering."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from export.lower import (
    convolution,
    elementwise,
    formula,
    index,
    matmul,
    order,
    padding,
    reduce,
    resize,
    shape,
    window,
)
from export.lower.context import Context
from export.lower.graph import Graph, Tensor
from export.lower.layout import Layouts, Perm, identity, permute
from export.lower.program import Op, Program, UnsupportedError, Value, Where
from export.lower.rows import run_on_rows

NCHW: Perm = (0, 3, 1, 2)

LOWERINGS: dict[str, Callable[[Context, Op], None]] = {
    **convolution.LOWERINGS,
    **elementwise.LOWERINGS,
    **formula.LOWERINGS,
    **index.LOWERINGS,
    **matmul.LOWERINGS,
    **order.LOWERINGS,
    **padding.LOWERINGS,
    **reduce.LOWERINGS,
    **resize.LOWERINGS,
    **shape.LOWERINGS,
    **window.LOWERINGS,
}


def lower(
    program: Program,
    output_names: Sequence[str],
    input_layout: str = "nhwc",
    output_layout: str | None = None,
) -> Graph:
    """Make the ONNX graph of a program.

    Args:
      program: after the passes.
      output_names: one per output.
      input_layout: "nhwc" keeps the callable's own order; "nchw" takes every rank-4 input as (b, c, h, w).
      output_layout: the same for rank-4 outputs; None means "nhwc", the callable's own order.

    Raises:
      UnsupportedError: an operation without a lowering.
    """
    graph = Graph()
    context = Context(graph, Layouts(graph))
    graph.reserve([*(value.name for value in program.inputs), *output_names])
    for value in program.inputs:
        perm = _perm(value, input_layout)
        context.layouts.put(value, perm, graph.input(value.name, permute(value.shape, perm), value.dtype))
    for op in program.ops:
        if op.kind not in LOWERINGS:
            raise UnsupportedError(
                op.where, "this operation has no ONNX lowering yet (docs/export.md lists those that do)"
            )
        LOWERINGS[op.kind](context, op)
    for value, name in zip(program.outputs, output_names, strict=True):
        graph.output(name, _result(context, value, _perm(value, output_layout or "nhwc")))
    graph.remove_dead()
    run_on_rows(graph)
    graph.remove_dead()
    return graph


def _perm(value: Value, layout: str) -> Perm:
    if layout not in ("nhwc", "nchw"):
        raise ValueError(f"layout must be 'nhwc' or 'nchw', got {layout!r}")
    return NCHW if layout == "nchw" and value.rank == 4 else identity(value.rank)


def _result(context: Context, value: Value, perm: Perm) -> Tensor:
    tensor = context.layouts.get(value, perm, Where())
    if np.prod(tensor.shape, dtype=int) != np.prod(value.shape, dtype=int):
        raise AssertionError(f"output of shape {value.shape} was lowered as {tensor.shape}")
    return tensor
