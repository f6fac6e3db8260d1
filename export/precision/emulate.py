"""A float32 copy of a half-precision graph that rounds wherever the file does.

ONNX Runtime's CPU provider has no bfloat16 arithmetic. Kernels of GPUs multiply bfloat16 and sum in float32,
then round the result once; that is what the copy does: every node computes in float32 and its result passes a
Cast to the narrow type and back. ONNX Runtime's Cast rounds to nearest even, as `ml_dtypes` does (a test
compares all classes of numbers).
"""

from __future__ import annotations

import onnx

from export.precision.islands import NARROW, element_types, widened

#: Results of these are copies of numbers that are rounded already.
COPYING = frozenset(
    {
        *("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Split", "Concat", "Gather"),
        *("Expand", "Tile", "Identity", "DepthToSpace", "SpaceToDepth", "Relu", "MaxPool", "Max", "Min"),
    }
)
#: The copy of a tensor before it is rounded is called so.
EXACT = "/exact"


def emulated(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` in float32 with explicit rounding; tensors keep their names. A graph without half precision
    comes back equal.

    Raises ValueError for a node that holds half-precision numbers in its attributes.
    """
    types = element_types(model)
    copy, aliases = widened(model, {node.name for node in model.graph.node}, {}, drop_casts=False)
    nodes = []
    for node in copy.graph.node:
        nodes.append(node)
        if node.op_type in COPYING:
            continue
        for index, name in enumerate(node.output):
            if types.get(name) in NARROW:
                node.output[index] = name + EXACT
                nodes += _rounding(name + EXACT, name, types[name])
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del copy.graph.node[:]
    copy.graph.node.extend(kept)
    assert not aliases, "no Cast is dropped from an emulated graph"
    return copy


def _rounding(source: str, result: str, narrow: int) -> list[onnx.NodeProto]:
    middle = f"{result}/rounded"
    return [
        onnx.helper.make_node("Cast", [source], [middle], f"{result}/round", to=narrow),
        onnx.helper.make_node("Cast", [middle], [result], f"{result}/widen", to=onnx.TensorProto.FLOAT),
    ]
