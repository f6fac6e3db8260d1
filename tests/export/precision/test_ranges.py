"""Value ranges are those of the float32 network, whatever the file's type makes of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper

from export.precision.ranges import has_infinite_weights, magnitudes, overflows
from export.runtimes.onnxruntime import OnnxSession

#: Weights are half precision here, the comparison float32.
WEIGHT_TOLERANCE = 2e-3


def test_magnitudes_are_those_of_the_float32_network(sample: Any) -> None:
    net = sample()
    found = magnitudes(net.typed, net.weights(), net.images, 4)
    float32 = net.float32.__class__.FromString(net.float32.SerializeToString())
    names = [node.output[0] for node in float32.graph.node if node.op_type in ("Conv", "Relu", "Add")]
    del float32.graph.output[:]
    float32.graph.output.extend(helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in names)
    session = OnnxSession(float32.SerializeToString())
    values = [session.run(net.images[start : start + 4]) for start in (0, 4)]
    for name in names:
        largest = max(float(np.abs(part[name]).max()) for part in values)
        assert abs(found[name] - largest) <= WEIGHT_TOLERANCE * largest
    assert overflows(net.typed, net.weights(), found) == []


def test_an_overflow_is_named_with_all_who_touch_it(sample: Any) -> None:
    net = sample("fp16", {"block2/mlp/fc1": 3e4, "block2/mlp/fc2": 1 / 3e4})
    assert not has_infinite_weights(net.typed)
    found = overflows(net.typed, {}, magnitudes(net.typed, {}, net.images, 4))
    assert {each.module for each in found} == {"block2/mlp/fc1", "block2/mlp"}
    assert all(each.largest > 65504 for each in found)
    assert found[0].nodes == ("block2/mlp/fc1/Conv", "block2/mlp/Relu")
    assert "block2/mlp/fc1 overflows" in found[0].sentence("fp16")


def test_bfloat16_does_not_overflow_there(sample: Any) -> None:
    net = sample("bf16", {"block2/mlp/fc1": 3e4, "block2/mlp/fc2": 1 / 3e4})
    assert overflows(net.typed, {}, magnitudes(net.typed, {}, net.images, 4)) == []


def test_a_weight_beyond_the_range_is_found(sample: Any) -> None:
    net = sample("fp16", {"block1/conv": 1e6, "block1/mlp/fc1": 1e-6})
    assert has_infinite_weights(net.typed)
    found = overflows(net.typed, net.weights(), magnitudes(net.typed, net.weights(), net.images, 4))
    assert "block1.conv.kernel" in {each.tensor for each in found}


def test_the_infinity_of_a_mask_is_no_overflow() -> None:
    """-inf before a softmax is meant, in float32 as in float16."""
    held = [
        helper.make_tensor(
            "mask", TensorProto.FLOAT16, [1, 4], np.array([0, 0, -np.inf, 0], np.float16).tobytes(), raw=True
        )
    ]
    nodes = [
        helper.make_node("Cast", ["x"], ["h"], "in", to=TensorProto.FLOAT16),
        helper.make_node("Add", ["h", "mask"], ["s"], "attn/Add"),
        helper.make_node("Softmax", ["s"], ["p"], "attn/Softmax"),
        helper.make_node("Cast", ["p"], ["y"], "out", to=TensorProto.FLOAT),
    ]
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT16, [2, 4]) for name in "hsp"]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 4]) for name in "xy"]
    made = helper.make_graph(nodes, "mask", ends[:1], ends[1:], held, value_info=infos)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    found = magnitudes(model, {}, x, 2)
    assert found["s"] == 7.0 and found["h"] == 7.0
    assert overflows(model, {}, found) == []
