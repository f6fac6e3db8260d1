"""A small builder of ONNX graphs: named nodes, deduplicated initializers, one shape per tensor."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper

from export.lower.program import Batch, Shape, Where

BATCH = "batch"


@dataclass(frozen=True)
class Tensor:
    """An ONNX tensor: its name, physical shape and dtype."""

    name: str
    shape: Shape
    dtype: np.dtype


@dataclass
class Node:
    kind: str
    inputs: list[str]
    outputs: list[str]
    attrs: dict[str, Any]
    name: str


class Graph:
    """Nodes in execution order, initializers, inputs and outputs; `proto()` makes the `onnx.GraphProto`."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.tensors: dict[str, Tensor] = {}
        self.initializers: dict[str, np.ndarray] = {}
        self.inputs: list[Tensor] = []
        self.outputs: list[Tensor] = []
        self.makers: dict[str, Node] = {}
        self._taken: set[str] = set()
        self._constants: dict[tuple, Tensor] = {}
        self._renamed: dict[str, str] = {}

    def unique(self, name: str) -> str:
        """`name`, or `name_1`, `name_2`, ... if it is taken."""
        candidate, count = name, 0
        while candidate in self._taken:
            count += 1
            candidate = f"{name}_{count}"
        self._taken.add(candidate)
        return candidate

    def reserve(self, names: Sequence[str]) -> None:
        """Keep these tensor names for the graph's inputs and outputs."""
        self._taken.update(names)

    def input(self, name: str, shape: Shape, dtype: np.dtype) -> Tensor:
        tensor = Tensor(name, shape, dtype)
        self.tensors[name] = tensor
        self.inputs.append(tensor)
        return tensor

    def node(
        self, kind: str, inputs: Sequence[Tensor], shape: Shape, dtype: np.dtype, where: Where, **attrs: Any
    ) -> Tensor:
        """Append a node with one output. Names read "module/path/Kind"."""
        return self.nodes_out(kind, inputs, [(shape, dtype)], where, **attrs)[0]

    def nodes_out(
        self,
        kind: str,
        inputs: Sequence[Tensor],
        results: Sequence[tuple[Shape, Any]],
        where: Where,
        **attrs: Any,
    ) -> list[Tensor]:
        """Append a node with several outputs."""
        name = self.unique(f"{where.path}/{kind}" if where.path else kind)
        names = [name] if len(results) == 1 else [self.unique(f"{name}.{i}") for i in range(len(results))]
        outputs = [
            Tensor(n, tuple(shape), np.dtype(dtype)) for n, (shape, dtype) in zip(names, results, strict=True)
        ]
        node = Node(kind, [tensor.name for tensor in inputs], names, attrs, name)
        self.nodes.append(node)
        for tensor in outputs:
            self.tensors[tensor.name] = tensor
            self.makers[tensor.name] = node
        return outputs

    def constant(self, data: np.ndarray, name: str = "") -> Tensor:
        """An initializer. Equal constants are shared; `name` is a wish, made unique if it is taken."""
        data = np.ascontiguousarray(data).reshape(np.shape(data))
        digest = hashlib.sha256(data.tobytes()).digest() if data.nbytes > 64 else data.tobytes()
        key = (name, data.dtype.str if data.dtype.kind != "V" else data.dtype.name, data.shape, digest)
        if key not in self._constants:
            unique = self.unique(name or f"constant/{'x'.join(map(str, data.shape)) or 'scalar'}")
            self.initializers[unique] = data
            self._constants[key] = Tensor(unique, data.shape, data.dtype)
            self.tensors[unique] = self._constants[key]
        return self._constants[key]

    def ints(self, *values: int) -> Tensor:
        """An int64 vector, as Reshape, Slice and the reductions take it."""
        return self.constant(np.array(values, np.int64), "shape/" + "x".join(str(int(v)) for v in values))

    def output(self, name: str, tensor: Tensor) -> None:
        """Make `tensor` a graph output called `name`: the tensor is renamed, or copied if it cannot be."""
        tensor = self.tensors[self._renamed.get(tensor.name, tensor.name)]
        fixed = {t.name for t in self.inputs} | set(self.initializers) | {t.name for t in self.outputs}
        if tensor.name in fixed:
            tensor = self.node("Identity", [tensor], tensor.shape, tensor.dtype, Where())
        self.rename(tensor.name, name)
        self.outputs.append(self.tensors[name])

    def rename(self, old: str, new: str) -> None:
        """Rename the tensor `old`."""
        for node in self.nodes:
            node.inputs = [new if name == old else name for name in node.inputs]
            node.outputs = [new if name == old else name for name in node.outputs]
        tensor = self.tensors.pop(old)
        self.tensors[new] = Tensor(new, tensor.shape, tensor.dtype)
        self.makers[new] = self.makers.pop(old)
        self._renamed[old] = new

    def remove_dead(self) -> None:
        """Drop nodes and initializers that no output needs."""
        alive = {tensor.name for tensor in self.outputs}
        kept = []
        for node in reversed(self.nodes):
            if alive.intersection(node.outputs):
                alive.update(node.inputs)
                kept.append(node)
        self.nodes = kept[::-1]
        self.initializers = {name: data for name, data in self.initializers.items() if name in alive}

    def proto(self, name: str) -> onnx.GraphProto:
        nodes = [
            helper.make_node(node.kind, node.inputs, node.outputs, node.name, **node.attrs)
            for node in self.nodes
        ]
        borders = {tensor.name for tensor in (*self.inputs, *self.outputs)}
        inner = [t for n in self.nodes for t in n.outputs if t not in borders]
        return helper.make_graph(
            nodes,
            name,
            [value_info(tensor) for tensor in self.inputs],
            [value_info(tensor) for tensor in self.outputs],
            [_initializer(key, data) for key, data in self.initializers.items()],
            value_info=[value_info(self.tensors[key]) for key in inner],
        )


def onnx_type(dtype: np.dtype) -> int:
    """The ONNX element type of a NumPy (or ml_dtypes) dtype."""
    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


def value_info(tensor: Tensor) -> onnx.ValueInfoProto:
    """Name, type and shape; a dimension that follows the batch is called "batch", "2*batch", ..."""
    dims = [dim_name(dim) if isinstance(dim, Batch) else int(dim) for dim in tensor.shape]
    return helper.make_tensor_value_info(tensor.name, onnx_type(tensor.dtype), dims)


def dim_name(dim: Batch) -> str:
    return BATCH if dim.scale == 1 else f"{dim.scale}*{BATCH}"


def _initializer(name: str, data: np.ndarray) -> onnx.TensorProto:
    return helper.make_tensor(name, onnx_type(data.dtype), data.shape, data.tobytes(), raw=True)
