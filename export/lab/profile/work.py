"""What the nodes of an ONNX file compute and move, from their shapes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from export._optional import require
from export.lab.profile.kinds import of_onnx
from export.module_path import module_of

#: These give other shapes to the same bytes.
VIEWS = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"})


@dataclass(frozen=True)
class NodeWork:
    """Multiply-adds of one node, and the bytes of all that it reads (weights too) and writes."""

    module: str
    kind: str
    macs: int
    bytes: int


@dataclass(frozen=True)
class Work:
    nodes: tuple[NodeWork, ...]

    @property
    def macs(self) -> int:
        return sum(node.macs for node in self.nodes)

    @property
    def bytes(self) -> int:
        """As if every node read its inputs from memory and wrote its outputs there: what a runtime fuses, or
        finds in a cache, moves less."""
        return sum(node.bytes for node in self.nodes)

    def within(self, module: str) -> Work:
        """Of a module and all below it."""
        inside = (one for one in self.nodes if f"{one.module}/".startswith(f"{module}/"))
        return Work(tuple(inside))


def count(model: bytes) -> Work:
    """Of an ONNX file with static shapes. Convolutions and matrix products have multiply-adds, nothing else;
    views move nothing.

    Raises:
      ValueError: the shape of a tensor cannot be told.
    """
    onnx = require("onnx")
    graph = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(model), data_prop=True).graph
    known = {
        one.name: _Tensor.of_value(one, onnx) for one in (*graph.value_info, *graph.input, *graph.output)
    }
    known |= {one.name: _Tensor.of_constant(one, onnx) for one in graph.initializer}
    return Work(tuple(_node(node, known) for node in graph.node))


@dataclass(frozen=True)
class _Tensor:
    shape: tuple[int, ...]
    item: int  # bytes of an element

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.size * self.item

    @staticmethod
    def of_constant(tensor: Any, onnx: Any) -> _Tensor:
        return _Tensor(tuple(tensor.dims), _item(tensor.data_type, onnx))

    @staticmethod
    def of_value(value: Any, onnx: Any) -> _Tensor:
        shaped = value.type.tensor_type
        if any(not dim.HasField("dim_value") for dim in shaped.shape.dim):
            raise ValueError(f"tensor {value.name} has a dynamic shape")
        return _Tensor(tuple(dim.dim_value for dim in shaped.shape.dim), _item(shaped.elem_type, onnx))


def _item(kind: int, onnx: Any) -> int:
    return onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize


def _node(node: Any, known: dict[str, _Tensor]) -> NodeWork:
    inputs = [_of(name, known) for name in node.input if name]
    outputs = [_of(name, known) for name in node.output if name]
    moved = 0 if node.op_type in VIEWS else _bytes(inputs) + _bytes(outputs)
    return NodeWork(module_of(node.name), of_onnx(node.op_type), _macs(node, inputs, outputs), moved)


def _bytes(tensors: Iterable[_Tensor]) -> int:
    return sum(tensor.bytes for tensor in tensors)


def _macs(node: Any, inputs: list[_Tensor], outputs: list[_Tensor]) -> int:
    if node.op_type == "Conv":  # weights (out, in / groups, height, width)
        return outputs[0].size * math.prod(inputs[1].shape[1:])
    if node.op_type == "MatMul":
        return outputs[0].size * inputs[0].shape[-1]
    if node.op_type == "Gemm":
        turned = any(one.name == "transA" and one.i for one in node.attribute)
        return outputs[0].size * inputs[0].shape[0 if turned else 1]
    return 0


def _of(name: str, known: dict[str, _Tensor]) -> _Tensor:
    if name not in known:
        raise ValueError(f"the shape of tensor {name} cannot be told from the file")
    return known[name]
