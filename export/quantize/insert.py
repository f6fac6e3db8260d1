"""A plan and the ranges of its tensors -> the model with QuantizeLinear and DequantizeLinear in it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper

from export.quantize.grids import INT8, Grid
from export.quantize.place import Plan
from export.quantize.weights import quantise, scales_for

#: Weights that were rounded before: name of the initializer -> what `weights.quantise` made of it.
Known = dict[str, tuple[np.ndarray, np.ndarray]]
_NO_TYPE = "the type of {} is not recorded in the model"


def insert(
    model: onnx.ModelProto,
    plan: Plan,
    largest: Mapping[str, float],
    grid: Grid = INT8,
    known: Known | None = None,
) -> onnx.ModelProto:
    """A copy of `model` that computes the planned layers in 8 bits.

    A layer reads `DequantizeLinear(QuantizeLinear(x))` and `DequantizeLinear(narrow weights)`, both of the
    type the layer had: everything else of the graph, biases too, stays as it was.

    Args:
      largest: for each tensor of `plan.activations`, the magnitude that the grid's largest number stands for.
      known: rounded weights to use again; those of this plan are added. Only for one model and grid.

    Raises:
      ValueError: a tensor of unknown type, or a range that the type has no scale for; it is named.
    """
    known = {} if known is None else known
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    nodes = list(graph.node)
    held = {tensor.name: tensor for tensor in graph.initializer}
    fresh = [_tensor(np.zeros((), grid.dtype), _zero(grid), grid)]
    first: list[onnx.NodeProto] = []
    for name, (axis, uses) in plan.weights.items():
        first.append(_weights(held[name], axis if grid.by_channel else None, grid, known, fresh))
        _redirect(nodes, uses, first[-1].output[0])
    types = {info.name: info.type.tensor_type.elem_type for info in [*graph.input, *graph.value_info]}
    behind: dict[str, list[onnx.NodeProto]] = {}
    for name, uses in plan.activations.items():
        if name not in types:
            raise ValueError(_NO_TYPE.format(name))
        behind[name] = _pair(name, largest[name], helper.tensor_dtype_to_np_dtype(types[name]), grid, fresh)
        _redirect(nodes, uses, behind[name][-1].output[0])
    ordered = first + [node for info in graph.input for node in behind.get(info.name, [])]
    for node in nodes:
        ordered.append(node)
        for name in node.output:
            ordered += behind.get(name, [])
    _replace(graph, ordered, [*graph.initializer, *fresh])
    return made


def _weights(
    held: onnx.TensorProto, axis: int | None, grid: Grid, known: Known, fresh: list[onnx.TensorProto]
) -> onnx.NodeProto:
    name = held.name
    if name not in known:
        values = numpy_helper.to_array(held)
        try:
            known[name] = quantise(values, axis, values.dtype, grid)
        except ValueError as error:
            raise ValueError(f"{grid.name}: {name}: {error}") from error
    rounded, scales = known[name]
    narrow = f"{name}.{grid.name}"
    fresh += [_tensor(rounded, narrow, grid), numpy_helper.from_array(scales, f"{name}.scale")]
    node = helper.make_node(
        "DequantizeLinear", [narrow, f"{name}.scale"], [f"{name}.dequantized"], name=f"{name}.dequantize"
    )
    if axis is not None:
        node.attribute.append(helper.make_attribute("axis", axis))
    return node


def _pair(
    name: str, largest: float, dtype: np.dtype, grid: Grid, fresh: list[onnx.TensorProto]
) -> list[onnx.NodeProto]:
    """QuantizeLinear and DequantizeLinear of one tensor, with one scale for all of it."""
    try:
        scale = scales_for(np.array([largest]), dtype, grid)
    except ValueError as error:
        raise ValueError(f"{grid.name}: {name}: {error}") from error
    fresh.append(numpy_helper.from_array(scale.reshape(()), f"{name}.scale"))
    short, wide, factors = f"{name}.{grid.name}", f"{name}.dequantized", [f"{name}.scale", _zero(grid)]
    return [
        helper.make_node("QuantizeLinear", [name, *factors], [short], name=f"{name}.quantize"),
        helper.make_node("DequantizeLinear", [short, *factors], [wide], name=f"{name}.dequantize"),
    ]


def _zero(grid: Grid) -> str:
    """The one zero point there is; its type tells QuantizeLinear what to make."""
    return f"{grid.name}.zero"


def _tensor(values: np.ndarray, name: str, grid: Grid) -> onnx.TensorProto:
    """`values` are of the grid's own type, which not every onnx knows how to take from NumPy."""
    assert values.dtype == grid.dtype, f"{name} is {values.dtype}, not {grid.dtype}"
    return helper.make_tensor(name, grid.element, values.shape, values.tobytes(), raw=True)


def _redirect(nodes: list[onnx.NodeProto], uses: list[tuple[int, int]], name: str) -> None:
    for index, place in uses:
        nodes[index].input[place] = name


def _replace(graph: onnx.GraphProto, nodes: list[onnx.NodeProto], tensors: list[onnx.TensorProto]) -> None:
    """New nodes and the initializers they read; copied, because deleting a field frees its messages."""
    read = {name for node in nodes for name in node.input}
    kept_nodes, kept_tensors = onnx.GraphProto(), onnx.GraphProto()
    kept_nodes.node.extend(nodes)
    kept_tensors.initializer.extend(tensor for tensor in tensors if tensor.name in read)
    del graph.node[:]
    del graph.initializer[:]
    graph.node.extend(kept_nodes.node)
    graph.initializer.extend(kept_tensors.initializer)
