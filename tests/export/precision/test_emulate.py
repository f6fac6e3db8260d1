"""The float32 copy rounds as NumPy does, wherever the file does."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from export.precision.emulate import emulated
from export.runtimes.onnxruntime import OnnxSession

TYPES = {"fp16": (TensorProto.FLOAT16, np.float16), "bf16": (TensorProto.BFLOAT16, ml_dtypes.bfloat16)}


def graph(nodes: list[Any], shape: list[int], narrow: list[str], kind: int, held: list[Any]) -> Any:
    infos = [helper.make_tensor_value_info(name, kind, shape) for name in narrow]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y")]
    made = helper.make_graph(nodes, "test", ends[:1], ends[1:], held, value_info=infos)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    return OnnxSession(model.SerializeToString()).run(x)["y"]


def all_kinds_of_numbers() -> np.ndarray:
    """Every exponent with random fractions, ties to even, subnormals, infinities, both zeros."""
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 1 << 32, 50_000, dtype=np.uint64).astype(np.uint32)
    numbers = bits.view(np.float32)
    exponents = np.arange(-30, 18)
    ties = np.concatenate([(1 + k / 2**12) * 2.0**exponents for k in range(64)])
    edges = [
        65504,
        65519.99,
        65520,
        3.39e38,
        3.4e38,
        1e-45,
        2**-24,
        2**-25,
        np.inf,
        -np.inf,
        0.0,
        -0.0,
        np.nan,
    ]
    return np.concatenate([numbers[np.isfinite(numbers)], ties, -ties, edges]).astype(np.float32)


@pytest.mark.parametrize("name", TYPES)
def test_rounding_is_that_of_numpy(name: str) -> None:
    kind, dtype = TYPES[name]
    nodes = [helper.make_node("Cast", ["x"], ["h"], "in", to=kind)]
    nodes.append(helper.make_node("Cast", ["h"], ["y"], "out", to=TensorProto.FLOAT))
    x = all_kinds_of_numbers()
    with np.errstate(over="ignore", invalid="ignore"):
        expected = x.astype(dtype).astype(np.float32)
    found = run(emulated(graph(nodes, [x.size], ["h"], kind, [])), x)
    assert np.array_equal(found.view(np.uint32)[~np.isnan(x)], expected.view(np.uint32)[~np.isnan(x)])
    assert np.isnan(found[np.isnan(x)]).all()


@pytest.mark.parametrize("name", TYPES)
def test_every_result_is_rounded_once(name: str) -> None:
    """(x * w + b) in half precision, step by step in NumPy: bit-equal."""
    kind, dtype = TYPES[name]
    rng = np.random.default_rng(1)
    x, w, b = (rng.normal(size=256).astype(np.float32) for _ in range(3))
    held = [
        helper.make_tensor(k, kind, [256], v.astype(dtype).tobytes(), raw=True)
        for k, v in (("w", w), ("b", b))
    ]
    nodes = [
        helper.make_node("Cast", ["x"], ["h"], "in", to=kind),
        helper.make_node("Mul", ["h", "w"], ["p"], "a/Mul"),
        helper.make_node("Add", ["p", "b"], ["s"], "a/Add"),
        helper.make_node("Cast", ["s"], ["y"], "out", to=TensorProto.FLOAT),
    ]
    found = run(emulated(graph(nodes, [256], ["h", "p", "s"], kind, held)), x)
    h = x.astype(dtype)
    expected = ((h * w.astype(dtype)).astype(dtype) + b.astype(dtype)).astype(np.float32)
    assert np.array_equal(found, expected)
    assert not np.array_equal(found, x * w + b)


def test_a_float32_graph_is_left_alone(sample: Any) -> None:
    net = sample("fp32")
    assert [node.op_type for node in emulated(net.float32).graph.node] == [
        node.op_type for node in net.float32.graph.node
    ]


def test_onnx_runtime_hides_an_overflow_that_the_copy_shows(sample: Any) -> None:
    """Why the gate emulates: ONNX Runtime's CPU provider computes a float16 file in float32."""
    net = sample("fp16", {"block2/mlp/fc1": 3e4, "block2/mlp/fc2": 1 / 3e4})
    part = net.images[:4]
    hidden = OnnxSession(net.typed.SerializeToString()).run(part)["logits"]
    shown = OnnxSession(emulated(net.typed).SerializeToString()).run(part)["logits"]
    assert np.isfinite(hidden).all()
    assert not np.isfinite(shown).all()
