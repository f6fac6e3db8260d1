"""A plan and the ranges of its tensors -> the model with QuantizeLinear and DequantizeLinear in it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper

from export.quantize.place import Plan
from export.quantize.weights import quantise, scales_for

#: The one zero point there is: symmetric int8.
ZERO = "int8.zero"
_NO_TYPE = "the type of {} is not recorded in the model"


def insert(model: onnx.ModelProto, plan: Plan, largest: Mapping[str, float]) -> onnx.ModelProto:
    """A copy of `model` that computes the planned layers in int8.

    A layer reads `DequantizeLinear(QuantizeLinear(x))` and `DequantizeLinear(int8 weights)`, both of the
    type the layer had: everything else of the graph, biases too, stays as it was.

    Args:
      largest: for each tensor of `plan.activations`, the magnitude that 127 stands for.

    Raises:
      ValueError: a tensor of unknown type, or a range that the type has no scale for; it is named.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    nodes = list(graph.node)
    held = {tensor.name: tensor for tensor in graph.initializer}
    fresh = [numpy_helper.from_array(np.zeros((), np.int8), ZERO)]
    first: list[onnx.NodeProto] = []
    for name, (axis, uses) in plan.weights.items():
        first.append(_weights(name, numpy_helper.to_array(held[name]), axis, fresh))
        _redirect(nodes, uses, first[-1].output[0])
    types = {info.name: info.type.tensor_type.elem_type for info in [*graph.input, *graph.value_info]}
    behind: dict[str, list[onnx.NodeProto]] = {}
    for name, uses in plan.activations.items():
        if name not in types:
            raise ValueError(_NO_TYPE.format(name))
        behind[name] = _pair(name, largest[name], helper.tensor_dtype_to_np_dtype(types[name]), fresh)
        _redirect(nodes, uses, behind[name][-1].output[0])
    ordered = first + [node for info in graph.input for node in behind.get(info.name, [])]
    for node in nodes:
        ordered.append(node)
        for name in node.output:
            ordered += behind.get(name, [])
    _replace(graph, ordered, [*graph.initializer, *fresh])
    return made


def _weights(name: str, values: np.ndarray, axis: int, fresh: list[onnx.TensorProto]) -> onnx.NodeProto:
    try:
        rounded, scales = quantise(values, axis, values.dtype)
    except ValueError as error:
        raise ValueError(f"int8: {name}: {error}") from error
    fresh += [
        numpy_helper.from_array(rounded, f"{name}.int8"),
        numpy_helper.from_array(scales, f"{name}.scale"),
    ]
    return helper.make_node(
        "DequantizeLinear",
        [f"{name}.int8", f"{name}.scale"],
        [f"{name}.dequantized"],
        name=f"{name}.dequantize",
        axis=axis,
    )


def _pair(name: str, largest: float, dtype: np.dtype, fresh: list[onnx.TensorProto]) -> list[onnx.NodeProto]:
    """QuantizeLinear and DequantizeLinear of one tensor, with one scale for all of it."""
    try:
        scale = scales_for(np.array([largest]), dtype)
    except ValueError as error:
        raise ValueError(f"int8: {name}: {error}") from error
    fresh.append(numpy_helper.from_array(scale.reshape(()), f"{name}.scale"))
    short, wide, factors = f"{name}.int8", f"{name}.dequantized", [f"{name}.scale", ZERO]
    return [
        helper.make_node("QuantizeLinear", [name, *factors], [short], name=f"{name}.quantize"),
        helper.make_node("DequantizeLinear", [short, *factors], [wide], name=f"{name}.dequantize"),
    ]


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
