"""How economical a graph is: nodes, operators, parameters and bytes of an ONNX file."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from export._optional import require

#: Nodes that only change order, shape or type: what layout-blind exporters leave behind.
MOVING = (
    "Transpose",
    "Reshape",
    "Squeeze",
    "Unsqueeze",
    "Flatten",
    "Slice",
    "Concat",
    "Cast",
    "Expand",
    "Pad",
)


@dataclass(frozen=True)
class Economy:
    """`operators` maps operator to count, most frequent first; `parameters` counts the numbers in
    initializers that arithmetic reads (shapes and axes, which are integers, are no parameters);
    `half_share` is the share of floating point results in float16 or bfloat16."""

    nodes: int
    operators: dict[str, int]
    parameters: int
    parameter_types: dict[str, int]
    bytes: int
    opset: int
    ir_version: int
    half_share: float = 1.0

    @property
    def transposes(self) -> int:
        return self.operators.get("Transpose", 0)

    def as_dict(self) -> dict[str, object]:
        return {
            "nodes": self.nodes,
            "transposes": self.transposes,
            "moving_nodes": sum(self.operators.get(name, 0) for name in MOVING),
            "operators": self.operators,
            "parameters": self.parameters,
            "parameter_types": self.parameter_types,
            "bytes": self.bytes,
            "opset": self.opset,
            "ir_version": self.ir_version,
            "half_share": round(self.half_share, 4),
        }


def count(model: bytes) -> Economy:
    """Counts the nodes of the file as it is; a Constant is a value, not a node."""
    onnx = require("onnx")
    loaded = onnx.load_model_from_string(model)
    operators = Counter(node.op_type for node in loaded.graph.node if node.op_type != "Constant")
    types: Counter[str] = Counter()
    for tensor in loaded.graph.initializer:
        name = onnx.TensorProto.DataType.Name(tensor.data_type)
        if "FLOAT" in name:
            types[name] += int(np.prod(tensor.dims)) if tensor.dims else 1
    return Economy(
        nodes=sum(operators.values()),
        operators=dict(operators.most_common()),
        parameters=sum(types.values()),
        parameter_types=dict(types.most_common()),
        bytes=len(model),
        opset=next(entry.version for entry in loaded.opset_import if entry.domain in ("", "ai.onnx")),
        ir_version=loaded.ir_version,
        half_share=_half_share(onnx, loaded.graph),
    )


def _half_share(onnx: Any, graph: Any) -> float:
    """Of the results whose type the file records; 1 if it records none."""
    kinds = onnx.TensorProto
    types = [info.type.tensor_type.elem_type for info in graph.value_info]
    half = sum(kind in (kinds.FLOAT16, kinds.BFLOAT16) for kind in types)
    floats = half + sum(kind == kinds.FLOAT for kind in types)
    return half / floats if floats else 1.0
