"""TF32 by emulation: its rounding bit for bit, where it happens, and what the gate makes of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export import parity, to_trt
from export._optional import available
from export.batch import BatchRange
from export.precision.tf32 import PRODUCTS, ROUNDED, emulated_tf32, products, round_tf32
from export.precision.tf32_gate import TF32, gate_tf32, line_of, tf32_copy
from export.runtimes.onnxruntime import OnnxSession

#: Half a unit in the last of 11 significant bits.
HALF_STEP = 2.0**-11


def product(values: np.ndarray, weight: np.ndarray) -> onnx.ModelProto:
    """y = values @ weight, values being the input x."""
    entry = helper.make_tensor_value_info("x", TensorProto.FLOAT, list(values.shape))
    end = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    node = helper.make_node("MatMul", ["x", "w"], ["y"], "product")
    graph = helper.make_graph([node], "g", [entry], [end], [numpy_helper.from_array(weight, "w")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def numbers() -> np.ndarray:
    """float32 of every size that activations and weights have, with powers of two and exact cases."""
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=4096) * 10.0 ** rng.integers(-30, 30, 4096)
    exact = [0.0, 1.0, -3.0, 2047.0, 65504.0, 1e30, 2.0**-100]
    return np.concatenate([drawn, exact]).astype(np.float32)


def test_rounding_keeps_eleven_bits() -> None:
    values = numbers()
    rounded = round_tf32(values)
    assert not np.any(rounded.view(np.uint32) & 0x1FFF), "the last 13 bits are gone"
    assert np.abs(rounded - values).max() > 0
    assert np.all(
        np.abs(rounded.astype(np.float64) - values) <= HALF_STEP * np.abs(values.astype(np.float64))
    )
    assert np.array_equal(round_tf32(rounded), rounded)
    assert round_tf32(np.float32([2049.0, 2051.0])).tolist() == [2048.0, 2052.0], "ties go to even"


def test_the_graph_rounds_as_numpy_does() -> None:
    """By arithmetic alone: no optimisation of ONNX Runtime may simplify c - (c - x)."""
    values = numbers()[:, None]
    one = product(values, np.ones((1, 1), np.float32))
    got = OnnxSession(emulated_tf32(one).SerializeToString()).run(values)["y"]
    want = round_tf32(values)
    ties = (values.view(np.uint32) & 0x1FFF) == 0x1000
    assert np.array_equal(got[~ties], want[~ties]) and ties.mean() < 0.01
    assert np.all(np.abs(got[ties] - values[ties]) == np.abs(want[ties] - values[ties]))


def test_factors_are_rounded_and_nothing_else(tiny_net: Any) -> None:
    model = onnx.load_model_from_string(tiny_net.make())
    copy = emulated_tf32(model)
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in copy.graph.initializer}
    for node in copy.graph.node:
        if node.op_type in PRODUCTS:
            assert node.input[0].endswith(ROUNDED) and node.input[1].endswith(ROUNDED)
            assert not node.input[2].endswith(ROUNDED), "biases are summed as they are"
            kernel = held[node.input[1]]
            assert np.array_equal(kernel, round_tf32(held[node.input[1].removesuffix(ROUNDED)]))
    assert products(model) == products(copy) == 3
    assert [node.op_type for node in copy.graph.node].count("Sub") == 2 * 3
    onnx.checker.check_model(copy)


def test_products_of_other_types_are_left(tiny_net: Any) -> None:
    half = onnx.load_model_from_string(onnx.shape_inference.infer_shapes(
        onnx.load_model_from_string(tiny_net.make(half=True))).SerializeToString())  # fmt: skip
    assert products(half) == 0 and emulated_tf32(half).graph == half.graph


@pytest.mark.parametrize("batch", [4, "batch"])
def test_the_gate_sees_the_rounding(tiny_net: Any, batch: Any) -> None:
    """It costs about as much as 11 bits do: seen at the limit of float32, allowed at its own."""
    images = tiny_net.images(8)
    want = {"JAX": {"logits": tiny_net.features(images)["logits"]}}
    inputs = images.transpose(0, 3, 1, 2).copy()
    sizes = BatchRange(4, 4, 4) if batch == 4 else BatchRange(1, 2, 4)
    copy = tf32_copy(tiny_net.make(batch))
    limit = parity.onnx_limit("tf32", trained=True)
    lines = gate_tf32(copy, inputs, want, batch=sizes, limit=limit)
    assert {line.batch for line in lines} == set(sizes.gate_sizes)
    errors = [line.difference.relative for line in lines]
    assert all(line.passed for line in lines) and parity.FP32_LIMIT < max(errors) <= 2 * HALF_STEP
    assert (line_of(lines) or "").startswith("passed: with factors rounded to 11 bits, emulated")
    strict = gate_tf32(copy, inputs, want, batch=sizes, limit=parity.FP32_LIMIT)
    assert not all(line.passed for line in strict) and (line_of(strict) or "").startswith("FAILED")
    forced = gate_tf32(copy, inputs, want, batch=sizes, limit=parity.FP32_LIMIT, forced=True)
    assert all(line.passed and line.forced for line in forced)
    assert all(line.candidate == TF32 for line in lines) and line_of([]) is None


def test_a_model_that_lives_on_small_differences_is_refused(tiny_net: Any) -> None:
    """Large activations that cancel: right in float32, wrong with 11 bits, which the engine's gate would see
    on a GPU only."""
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(16, 4)).astype(np.float32)
    weight -= weight.mean(0)  # a large common part of the inputs cancels
    values = (1000 + rng.normal(size=(8, 16))).astype(np.float32)
    model = product(values, weight).SerializeToString()
    want = {"JAX": {"y": (values.astype(np.float64) @ weight).astype(np.float32)}}
    limit = parity.onnx_limit("tf32", trained=False)
    sizes = BatchRange(8, 8, 8)
    assert all(line.passed for line in gate_tf32(model, values, want, batch=sizes, limit=limit))
    lines = gate_tf32(tf32_copy(model), values, want, batch=sizes, limit=limit)
    assert not any(line.passed for line in lines)
    assert "TF32 of model.onnx (emulated) differ from JAX" in lines[0].sentence()


@pytest.mark.skipif(
    not available("tensorrt_rtx_bindings"), reason="TensorRT for RTX is not installed: hvjax[tensorrt-rtx]"
)
def test_tf32_has_a_verdict_before_there_is_a_gpu(
    small_weights: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Error, size and kernels in the report; refused beyond its limit, unless forced."""
    out = tmp_path / "out"
    asked = ["--ckpt", str(small_weights), "--out", str(out), "--runtime", "tensorrt_rtx", "--tf32",
             "--via", "stablehlo", "--batch", "4", "--gate-images", "4"]  # fmt: skip
    assert to_trt.main(asked) == 0
    said = capsys.readouterr().out
    assert "  tf32     passed: with factors rounded to 11 bits, emulated" in said
    assert re.search(r"  worth    model.onnx .* kernels for \d+", said)
    report = json.loads((out / "report.json").read_text())
    lines = [line for line in report["gate"]["comparisons"] if line["candidate"] == TF32]
    assert lines and all(line["limit"] == parity.TF32_TRAINED_LIMIT and line["passed"] for line in lines)
    assert max(line["relative"] for line in lines) > parity.FP32_LIMIT
    assert report["worth"]["precision"] == "tf32" and report["worth"]["kernels"][0] > 0
    assert "TF32 of model.onnx (emulated)" in (out / "report.html").read_text()
    assert "--noTF32 " not in (out / "trtexec.txt").read_text().replace("--noTF32 keeps", "")

    monkeypatch.setitem(parity.TRAINED_LIMITS, "tf32", 1e-6)
    assert to_trt.main([*asked, "--overwrite"]) == 1
    assert "reason   logits of TF32 of model.onnx (emulated) differ from JAX" in capsys.readouterr().out
    assert to_trt.main([*asked, "--overwrite", "--force-precision"]) == 0
    assert "caution  forced: logits of TF32 of model.onnx" in capsys.readouterr().out
