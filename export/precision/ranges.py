"""How large every half-precision tensor of a graph becomes, measured in float32 on real images.

A float16 file cannot say it: beyond 65504 it holds infinities, and what they do to the answer depends on what
comes after. So the graph is widened to float32, the largest and the smallest value of every tensor become
outputs of the copy, and it is run once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.module_path import module_of
from export.precision import HOLDS
from export.precision.islands import NARROW, element_types, widened
from export.runtimes.onnxruntime import OnnxSession

#: The largest finite number of each type; beyond it (by half a step) rounding gives infinity.
LARGEST: dict[int, float] = {
    TensorProto.FLOAT16: HOLDS["fp16"],
    TensorProto.BFLOAT16: HOLDS["bf16"],
}
#: Results of these hold the numbers of their first input, so they need not be looked at.
SAME_NUMBERS = frozenset({"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Identity"})
_MAX, _MIN = "/largest", "/smallest"


@dataclass(frozen=True)
class Overflow:
    """A tensor that its type cannot hold: `largest` magnitude in float32, and the `nodes` that write or
    read it."""

    tensor: str
    module: str
    largest: float
    nodes: tuple[str, ...]

    def sentence(self, precision: str) -> str:
        return (
            f"{self.tensor} reaches {self.largest:.3g}, and {precision} ends at {HOLDS[precision]:.5g}: "
            f"{self.module or 'the model'} overflows"
        )


def magnitudes(
    model: onnx.ModelProto, weights: Mapping[str, np.ndarray], images: np.ndarray, batch: int
) -> dict[str, float]:
    """Largest finite magnitude of every half-precision tensor that a node writes, in the graph's order.

    Args:
      weights: of the float32 export, as `islands.keep_float32` takes them.
      images: in the layout of the file's input; `batch` of them are run at a time, an incomplete last batch
        is left out.

    An infinity in float32 is meant (a mask before a softmax): then only the other end of the range counts.
    """
    types = element_types(model)
    copy, aliases = widened(model, {node.name for node in model.graph.node}, weights)
    parents = {node.output[0]: node.input[0] for node in copy.graph.node if node.op_type in SAME_NUMBERS}
    origin: dict[str, str] = {}
    for node in model.graph.node:
        for name in node.output:
            if types.get(name) in NARROW:
                origin[name] = _first(aliases.get(name, name), parents)
    outputs = _with_extremes(copy, list(dict.fromkeys(origin.values())))
    session = OnnxSession(copy.SerializeToString())
    found: dict[str, float] = {}
    try:
        for start in range(0, len(images) // batch * batch, batch):
            values = session.run(images[start : start + batch])
            for name in outputs:
                ends = np.abs([values[name + _MAX].item(), values[name + _MIN].item()])
                finite = ends[np.isfinite(ends)]
                found[name] = max(found.get(name, 0.0), float(finite.max(initial=0.0)))
    finally:
        session.close()
    return {name: found[source] for name, source in origin.items()}


def overflows(
    model: onnx.ModelProto, weights: Mapping[str, np.ndarray], found: Mapping[str, float]
) -> list[Overflow]:
    """The tensors, and weights, that their type cannot hold; `found` is what `magnitudes` returns."""
    types = element_types(model)
    readers: dict[str, list[str]] = {}
    makers: dict[str, str] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node.name)
        for name in node.output:
            makers[name] = node.name
    largest = dict(found) | _infinite_weights(model, weights)
    return [
        Overflow(
            name,
            module_of(makers[name] if name in makers else readers[name][0]),
            value,
            tuple(([makers[name]] if name in makers else []) + readers.get(name, [])),
        )
        for name, value in largest.items()
        if value > LARGEST[types[name]]
    ]


def has_infinite_weights(model: onnx.ModelProto) -> bool:
    """Whether a half-precision weight is not finite: then only the float32 export knows its value."""
    return any(
        not np.isfinite(np.asarray(numpy_helper.to_array(tensor), np.float32)).all()
        for tensor in model.graph.initializer
        if tensor.data_type in NARROW
    )


def _infinite_weights(model: onnx.ModelProto, weights: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Weights that are finite in float32 and not in half precision."""
    found = {}
    for tensor in model.graph.initializer:
        source = weights.get(tensor.name)
        if tensor.data_type not in NARROW or source is None:
            continue
        values = np.asarray(numpy_helper.to_array(tensor), np.float32)
        if np.isinf(values).any() and source.shape == values.shape and np.isfinite(source).all():
            found[tensor.name] = float(np.abs(source).max())
    return found


def _first(name: str, parents: Mapping[str, str]) -> str:
    while name in parents:
        name = parents[name]
    return name


def _with_extremes(model: onnx.ModelProto, tensors: list[str]) -> list[str]:
    """Adds the outputs in place; returns the tensors that have them."""
    for name in tensors:
        for kind, end in (("ReduceMax", _MAX), ("ReduceMin", _MIN)):
            model.graph.node.append(helper.make_node(kind, [name], [name + end], name + end, keepdims=0))
            model.graph.output.append(helper.make_tensor_value_info(name + end, TensorProto.FLOAT, []))
    return tensors
