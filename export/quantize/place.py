"""Where QuantizeLinear and DequantizeLinear go, so that TensorRT computes in 8 bits and fuses what it can.

The rules; docs/export-decisions.md has the measurements behind them:

* the input and the weights of every Conv, Gemm and MatMul whose weights are constant;
* one pair for a tensor, however many of these layers read it;
* the other branch of a sum that a quantised convolution ends in: the sum then reads 8 bits, not 16;
* not: depthwise convolutions (TensorRT for RTX makes dense ones of them in int8), what the user keeps or the
  search finds, and anything around softmax, normalisation, GELU and products of two activations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import onnx

from export.ends.spec import FRONT
from export.quantize.names import FIRST, KEEP, LAST

#: Operators with weights.
LAYERS = ("Conv", "Gemm", "MatMul")
Use = tuple[int, int]  # (index of a node, index of its input)


@dataclass
class Plan:
    """What is quantised.

    activations: tensor -> the uses that read its quantised form. weights: initializer -> (axis of output
    channels, uses). layers: names of the layers in 8 bits, in order. kept: layer left out -> why.
    """

    activations: dict[str, list[Use]] = field(default_factory=dict)
    weights: dict[str, tuple[int, list[Use]]] = field(default_factory=dict)
    layers: list[str] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)


def plan(model: onnx.ModelProto, keep: Sequence[str] = KEEP, also: Mapping[str, str] | None = None) -> Plan:
    """Applies the rules to a float model.

    Args:
      keep: layers that stay as they are: "first", "last", names, or patterns of names with * and ?.
      also: names of further ones -> why.

    Raises:
      ValueError: an entry of `keep` that no layer answers to, or a model with nothing to quantise.
    """
    held = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = list(model.graph.node)
    layers = [index for index, node in enumerate(nodes) if _is_layer(node, held)]
    names = {index: layer_name(nodes[index]) for index in layers}
    _check_keep(keep, list(names.values()))
    found = Plan()
    for index in layers:
        why = _why_kept(nodes[index], names[index], index, layers, keep, held)
        why = why or (also or {}).get(names[index])
        if why is not None:
            found.kept[names[index]] = why
            continue
        found.layers.append(names[index])
        weights = nodes[index].input[1]
        axis = _channel_axis(nodes[index], len(held[weights].dims))
        found.activations.setdefault(nodes[index].input[0], []).append((index, 0))
        found.weights.setdefault(weights, (axis, []))[1].append((index, 1))
    if not found.layers:
        raise ValueError("every layer with weights is kept in float: nothing is left to quantise")
    _residual_branches(nodes, held, found)
    return found


def layer_name(node: onnx.NodeProto) -> str:
    """`stage1.block1.conv1` for a layer whose weights are `stage1.block1.conv1.kernel`."""
    return node.input[1].removesuffix(".kernel")


def _residual_branches(
    nodes: Sequence[onnx.NodeProto], held: Mapping[str, onnx.TensorProto], found: Plan
) -> None:
    """The convolution computed last makes the result of a sum of two tensors: the other is read as int8."""
    quantised = {index for uses in found.activations.values() for index, _ in uses}
    maker = {output: index for index, node in enumerate(nodes) for output in node.output}
    for index, node in enumerate(nodes):
        if node.op_type != "Add" or any(name in held for name in node.input):
            continue
        later = max((0, 1), key=lambda place: maker.get(node.input[place], -1))
        host = maker.get(node.input[later], -1)
        if host in quantised and nodes[host].op_type == "Conv":
            found.activations.setdefault(node.input[1 - later], []).append((index, 1 - later))


def _why_kept(
    node: onnx.NodeProto,
    name: str,
    index: int,
    layers: Sequence[int],
    keep: Sequence[str],
    held: Mapping[str, onnx.TensorProto],
) -> str | None:
    if FIRST in keep and index == layers[0]:
        return "the first layer"
    if LAST in keep and index == layers[-1]:
        return "the last layer"
    asked = next((pattern for pattern in keep if fnmatchcase(name, pattern)), None)
    if asked is not None:
        return f"asked for ({asked})"
    if _attribute(node, "group", 1) > 1 and held[node.input[1]].dims[1] == 1:
        return "depthwise"
    return None


def _check_keep(keep: Sequence[str], names: Sequence[str]) -> None:
    for pattern in keep:
        if pattern not in (FIRST, LAST) and not any(fnmatchcase(name, pattern) for name in names):
            some = ", ".join(names[:3])
            raise ValueError(
                f"--quant-keep {pattern}: no such layer; accepted are first, last, and names or patterns "
                f"of the {len(names)} layers ({some}, ...)"
            )


def _is_layer(node: onnx.NodeProto, held: Mapping[str, onnx.TensorProto]) -> bool:
    if node.op_type not in LAYERS or node.input[0] in held or node.input[1] not in held:
        return False
    if node.input[1].startswith(f"{FRONT}."):  # resizing of pictures, bit for bit
        return False
    tensor = held[node.input[1]]
    return len(tensor.dims) >= 2 and tensor.data_type in (
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.FLOAT16,
    )


def _channel_axis(node: onnx.NodeProto, rank: int) -> int:
    if node.op_type == "Conv" or (node.op_type == "Gemm" and _attribute(node, "transB", 0)):
        return 0
    return rank - 1


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    found = next((entry for entry in node.attribute if entry.name == name), None)
    return default if found is None else onnx.helper.get_attribute_value(found)
