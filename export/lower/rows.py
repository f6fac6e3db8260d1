"""Two linear maps in a row (the MLP of a transformer block) run on the rows of one matrix.

    MatMul, Add, Gelu, MatMul, Add on (b, h, w, c)  ->  Reshape, Gemm, Gelu, Gemm, Reshape

TensorRT merges bias, activation and residual into a matrix product of rank 2; for a batch above one it does
not do so for a product of higher rank with a matrix. Counted on ConvNeXt-T, batch 8: 98 kernels in the place
of 116, and as many nodes.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter

from export.lower.graph import Graph, Node, Tensor
from export.lower.layout import target
from export.lower.program import Batch, Shape

# Element-wise operators of one operand that may stand between the two maps.
UNARY = frozenset({"Gelu", "Relu", "Sigmoid", "Tanh"})


@dataclasses.dataclass(frozen=True)
class _Linear:
    """MatMul with a constant matrix and Add of a constant vector."""

    product: Node
    add: Node
    bias: str


def run_on_rows(graph: Graph) -> None:
    """Rewrite every chain linear, unary..., linear whose values are used nowhere else.

    Not for one image, where TensorRT merges without it and the reshapes cost others their layout.
    """
    batches = [tensor.shape[0] for tensor in graph.inputs if tensor.shape]
    if batches and all(not isinstance(batch, Batch) and batch == 1 for batch in batches):
        return
    uses = Counter(name for node in graph.nodes for name in node.inputs)
    uses.update(tensor.name for tensor in graph.outputs)
    readers = {name: node for node in graph.nodes for name in node.inputs}
    placed: dict[str, list[Node]] = {}
    gone: set[str] = set()
    for node in graph.nodes:
        if node.name in gone:
            continue
        chain = _chain(graph, node, readers, uses)
        if chain is None:
            continue
        first, between, second = chain
        result = second.add.outputs[0]
        reader = readers.get(result) if uses[result] == 1 else None
        placed[second.add.name] = _on_rows(graph, first, between, second, reader)
        members = (first.product, first.add, *between, second.product, second.add)
        gone.update(member.name for member in members)
    nodes: list[Node] = []
    for node in graph.nodes:
        nodes += placed.get(node.name, [] if node.name in gone else [node])
    graph.nodes = nodes
    graph.makers = {name: node for node in nodes for name in node.outputs}


def _chain(
    graph: Graph, node: Node, readers: dict[str, Node], uses: Counter[str]
) -> tuple[_Linear, list[Node], _Linear] | None:
    first = _linear(graph, node, readers, uses)
    if first is None or len(graph.tensors[node.inputs[0]].shape) < 3:
        return None
    between: list[Node] = []
    last = first.add.outputs[0]
    while uses[last] == 1 and last in readers:
        reader = readers[last]
        if reader.kind in UNARY:
            between.append(reader)
            last = reader.outputs[0]
            continue
        second = _linear(graph, reader, readers, uses)
        return (first, between, second) if second and reader.inputs[0] == last else None
    return None


def _linear(graph: Graph, node: Node, readers: dict[str, Node], uses: Counter[str]) -> _Linear | None:
    if node.kind != "MatMul" or node.inputs[1] not in graph.initializers:
        return None
    out = node.outputs[0]
    add = readers.get(out)
    if len(graph.initializers[node.inputs[1]].shape) != 2 or uses[out] != 1 or add is None:
        return None
    if add.kind != "Add":
        return None
    bias = add.inputs[1] if add.inputs[0] == out else add.inputs[0]
    known = graph.initializers.get(bias)
    if known is None or known.ndim != 1 or known.shape[0] != graph.tensors[out].shape[-1]:
        return None
    return _Linear(node, add, bias)


def _on_rows(
    graph: Graph, first: _Linear, between: list[Node], second: _Linear, reader: Node | None
) -> list[Node]:
    """The nodes in the place of the chain. The last one makes the tensor that the chain made, unless its only
    `reader` is a Reshape: that one then reads the rows."""
    made: list[Node] = []

    def add(kind: str, inputs: list[str], output: str, name: str, **attrs: object) -> str:
        made.append(Node(kind, inputs, [output], dict(attrs), name))
        return output

    def reshaped(source: str, shape: Shape, output: str, name: str) -> str:
        sizes = graph.ints(*target(graph.tensors[source].shape, shape)).name
        return add("Reshape", [source, sizes], output, name)

    def rows(like: str, name: str) -> str:
        tensor = graph.tensors[like]
        graph.tensors[name] = Tensor(name, _rows(tensor.shape), tensor.dtype)
        return name

    def beside(node: Node, kind: str) -> str:
        path, _, _ = node.name.rpartition("/")
        return graph.unique(f"{path}/{kind}" if path else kind)

    start = first.product.inputs[0]
    value = rows(start, beside(first.product, "Reshape"))
    reshaped(_before_reshape(graph, start), graph.tensors[value].shape, value, value)
    for node in (first, *between, second):
        if isinstance(node, _Linear):
            inputs = [value, node.product.inputs[1], node.bias]
            value = rows(node.add.outputs[0], beside(node.product, "Gemm"))
            add("Gemm", inputs, value, value)
        else:
            inputs = [value, *node.inputs[1:]]
            value = rows(node.outputs[0], node.outputs[0])
            add(node.kind, inputs, value, node.name, **node.attrs)
    if reader is not None and reader.kind == "Reshape":
        shape = graph.tensors[reader.outputs[0]].shape
        reader.inputs = [value, graph.ints(*target(graph.tensors[value].shape, shape)).name]
        return made
    result = second.add.outputs[0]
    reshaped(value, graph.tensors[result].shape, result, beside(second.add, "Reshape"))
    return made


def _rows(shape: Shape) -> Shape:
    """(..., c) -> (product of all others, c)."""
    *others, channels = shape
    count = math.prod(int(dim) for dim in others)
    open_dims = [dim for dim in others if isinstance(dim, Batch)]
    if not open_dims:
        return (count, channels)
    fixed = math.prod(int(dim) for dim in others if not isinstance(dim, Batch))
    return (Batch(count, open_dims[0].scale * fixed), channels)


def _before_reshape(graph: Graph, name: str) -> str:
    """What a Reshape that made `name` read; `name` itself otherwise."""
    maker = graph.makers.get(name)
    return maker.inputs[0] if maker is not None and maker.kind == "Reshape" else name
