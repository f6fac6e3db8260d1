"""A float32 graph whose products are rounded as TF32 rounds them, to run where there is no TF32.

TF32 rounds the factors of convolutions and matrix products to 10 mantissa bits (11 significant ones, like
float16, with the range of float32) and sums in float32; nothing else is rounded. ONNX has no such type, so
the copy rounds by splitting (T. J. Dekker, "A floating-point technique for extending the available
precision", 1971, after G. W. Veltkamp): c = x * (2^13 + 1), then c - (c - x) is x rounded to the nearest
number of 24 - 13 bits, for every |x| < 2^114.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

#: Operators whose factors TF32 rounds -> how many of their inputs are factors; biases are summed as they are.
PRODUCTS = {"Conv": 2, "ConvTranspose": 2, "MatMul": 2, "Gemm": 2}
#: Bits of a float32 mantissa that TF32 does not keep.
DROPPED_BITS = 13
#: Ends the names of rounded tensors.
ROUNDED = "/tf32"
_SPLITTER = "tf32/splitter"


def emulated_tf32(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` with every factor of a product rounded to TF32; tensors keep their names. Products of other
    types than float32 are left as they are."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    held = {tensor.name: tensor for tensor in copy.graph.initializer}
    typed = _other_types(model)
    made: dict[str, str] = {}
    nodes: list[onnx.NodeProto] = []
    for node in copy.graph.node:
        for index in range(min(PRODUCTS.get(node.op_type, 0), len(node.input))):
            name = node.input[index]
            if name in typed:
                continue
            if name not in made:
                made[name] = name + ROUNDED
                if name in held:
                    rounded = numpy_helper.from_array(
                        round_tf32(numpy_helper.to_array(held[name])), made[name]
                    )
                    copy.graph.initializer.append(rounded)
                else:
                    nodes += _rounding(name)
            node.input[index] = made[name]
        nodes.append(node)
    if made:
        splitter = np.array(2**DROPPED_BITS + 1, np.float32)
        copy.graph.initializer.append(numpy_helper.from_array(splitter, _SPLITTER))
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del copy.graph.node[:]
    copy.graph.node.extend(kept)
    return copy


def round_tf32(values: np.ndarray) -> np.ndarray:
    """float32 -> float32 with 10 mantissa bits, to nearest, ties to even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32).astype(np.uint64)
    half = np.uint64(1 << (DROPPED_BITS - 1))
    odd = (bits >> np.uint64(DROPPED_BITS)) & np.uint64(1)
    rounded = (bits + half - np.uint64(1) + odd) >> np.uint64(DROPPED_BITS) << np.uint64(DROPPED_BITS)
    return rounded.astype(np.uint32).view(np.float32).reshape(values.shape)


def products(model: onnx.ModelProto) -> int:
    """How many nodes TF32 concerns."""
    typed = _other_types(model)
    return sum(node.op_type in PRODUCTS and node.input[0] not in typed for node in model.graph.node)


def _other_types(model: onnx.ModelProto) -> set[str]:
    """Tensors that are known not to be float32."""
    graph = model.graph
    infos: Iterable[onnx.ValueInfoProto] = (*graph.value_info, *graph.input, *graph.output)
    found = {info.name: info.type.tensor_type.elem_type for info in infos}
    found |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    return {name for name, kind in found.items() if kind not in (TensorProto.FLOAT, TensorProto.UNDEFINED)}


def _rounding(name: str) -> list[onnx.NodeProto]:
    result = name + ROUNDED
    big, low = f"{result}/big", f"{result}/low"
    return [
        helper.make_node("Mul", [name, _SPLITTER], [big], big),
        helper.make_node("Sub", [big, name], [low], low),
        helper.make_node("Sub", [big, low], [result], result),
    ]
