"""`--precision fp8`: the rounding, what ONNX Runtime and TensorRT make of such files, and the commands."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from export import flags, parity, to_onnx, to_trt
from export._optional import available
from export.arguments import UsageError
from export.batch import BatchRange
from export.bundle import flags as bundle_flags
from export.quantize import stage
from export.quantize.flags import QuantiseRequest
from export.quantize.grids import FP8
from export.quantize.weights import dequantise, quantise, scales_for
from export.quantize.work import Quantiser
from export.runtimes import BuildError, BuildOptions, float8
from export.runtimes.onnxruntime import OnnxSession
from export.runtimes.providers import ProviderSession
from export.trial import wrong_precision

FLOAT8 = np.dtype(ml_dtypes.float8_e4m3fn)
#: Of the largest logit. ONNX Runtime and NumPy sum in another order; a value that lies on the border between
#: two float8 numbers may become either, a sixteenth apart, but none of so few does.
SUMMATION = 1e-5
#: Of the largest logit: two layers in 4 significant bits and 11 around them.
FP8_TOLERANCE = 0.06
FP8_ONLY = QuantiseRequest(precision="fp8", calibrator="minmax", keep=())


def nchw(images: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def typed(model: bytes) -> bytes:
    """With the types of all tensors recorded, as the bridge does."""
    return onnx.shape_inference.infer_shapes(onnx.load_model_from_string(model)).SerializeToString()


def through_float8(values: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """What a pair of Q and DQ shall make of float32 `values`, by ml_dtypes."""
    return np.clip(values / scale, -448, 448).astype(FLOAT8).astype(np.float32) * scale


def test_one_scale_for_the_tensor_and_four_significant_bits() -> None:
    rng = np.random.default_rng(0)
    weights = (rng.normal(size=(7, 5, 3, 3)) * np.logspace(-2, 0, 7)[:, None, None, None]).astype(np.float32)
    rounded, scale = quantise(weights, None, np.float16, FP8)
    assert rounded.dtype == FLOAT8 and rounded.shape == weights.shape
    assert scale.shape == () and scale.dtype == np.float16
    assert float(np.abs(rounded.astype(np.float32)).max()) <= 448
    error = np.abs(dequantise(rounded, scale, None) - weights)
    smallest = 2.0**-10 * float(scale)  # half of the smallest float8
    assert (error <= np.maximum(np.abs(weights) / 16, smallest) * (1 + 1e-6)).all()
    assert error.max() > np.abs(weights).max() / 64, "and no better than float8"


def test_scales_reach_the_largest_value_and_stay_within_float16() -> None:
    largest = np.array([0.0, 1e-6, 0.1, 3.0, 448.0 * 60000])
    scales = scales_for(largest, np.float16, FP8).astype(np.float64)
    assert (scales * 448 >= largest).all() and (1 / scales <= np.finfo(np.float16).max).all()
    with pytest.raises(ValueError, match="has no scale in float16"):
        scales_for(np.array([448.0 * 70000]), np.float16, FP8)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_onnx_runtime_rounds_and_saturates_as_ml_dtypes_does(dtype: type) -> None:
    """Every float16 number but NaN, which covers ties, subnormals, zeros and everything beyond 448 scales."""
    values = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    values = values[np.isfinite(values)].astype(dtype)
    scale = np.array(0.37, dtype)
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    ends = [helper.make_tensor_value_info(name, kind, [len(values)]) for name in ("x", "y")]
    held = [
        onnx.numpy_helper.from_array(scale, "scale"),
        helper.make_tensor("zero", TensorProto.FLOAT8E4M3FN, (), b"\0", raw=True),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "pair", ends[:1], ends[1:], held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    got = OnnxSession(model.SerializeToString()).run(values)["y"]
    want = through_float8(values.astype(np.float32), scale.astype(np.float32)).astype(dtype)
    np.testing.assert_array_equal(got, want)
    assert np.abs(got).max() == np.abs(want).max() < np.abs(values).max(), "something was saturated"


def test_the_very_file_answers_as_numpy_does(tiny_net: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its default rewrites would make ONNX Runtime answer something else, without a message."""
    images = tiny_net.images(8)
    done = Quantiser(typed(tiny_net.make()), FP8_ONLY, nchw(images), "noise", batch=4).write()
    held = {t.name: t for t in onnx.load_model_from_string(done.model).graph.initializer}
    scale = {name: onnx.numpy_helper.to_array(held[f"{name}.scale"]) for name in ("x0", "x2", "x5")}
    weights = {}
    for name in ("stage1.kernel", "stage2.kernel", "head.kernel"):
        tensor = held[f"{name}.fp8"]
        assert tensor.data_type == TensorProto.FLOAT8E4M3FN and name not in held
        wide = np.frombuffer(tensor.raw_data, FLOAT8).reshape(tensor.dims).astype(np.float32)
        weights[name] = wide * onnx.numpy_helper.to_array(held[f"{name}.scale"])
    bias = tiny_net.weights
    x = through_float8(images[:4], scale["x0"])
    x = np.maximum(x @ weights["stage1.kernel"][:, :, 0, 0].T + bias["stage1.bias"], 0)
    x = through_float8(x, scale["x2"])
    x = np.maximum(x @ weights["stage2.kernel"][:, :, 0, 0].T + bias["stage2.bias"], 0).mean((1, 2))
    want = through_float8(x, scale["x5"]) @ weights["head.kernel"] + bias["head.bias"]
    for session in (OnnxSession(done.model), ProviderSession(done.model, "cpu")):
        got = session.run(nchw(images[:4]))["logits"]
        assert np.abs(got - want).max() <= SUMMATION * np.abs(want).max()
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "onnx", None)  # a machine that only runs engines
        patch.setattr(float8, "available", lambda module: False)
        got = OnnxSession(done.model).run(nchw(images[:4]))["logits"]
    assert np.abs(got - want).max() <= SUMMATION * np.abs(want).max()


@pytest.mark.parametrize("half", [False, True])
def test_the_fp8_file_answers_nearly_as_the_float_file(tiny_net: Any, half: bool) -> None:
    images = tiny_net.images(8)
    done = Quantiser(typed(tiny_net.make(half=half)), FP8_ONLY, nchw(images), "noise", batch=4).write()
    got = OnnxSession(done.model).run(nchw(images[:4]))["logits"]
    want = tiny_net.features(images[:4])["logits"]
    error = np.abs(got - want).max() / np.abs(want).max()
    assert 1e-3 < error < FP8_TOLERANCE, "float8 rounds, but not more than that"


@pytest.mark.skipif(not available("tensorrt_rtx_bindings"), reason="TensorRT for RTX is not installed")
def test_tensorrt_computes_in_fp8_and_adds_bias_and_relu_at_once(tiny_net: Any) -> None:
    from export import runtimes

    images = nchw(tiny_net.images(4))
    done = Quantiser(typed(tiny_net.make(half=True)), FP8_ONLY, images, "noise", batch=4).write()
    runtime = runtimes.make("tensorrt_rtx")
    kernels = runtime.build(done.model, BuildOptions(BatchRange(4, 4, 4), targets=("SM89",))).kernels
    assert kernels is not None and wrong_precision(kernels, "fp8", 1.0) == []
    reading = [k for k in kernels if "FP8" in {t.dtype for t in k.inputs}]
    convolutions = [k for k in kernels if k.kind == "correlation"]
    assert len(convolutions) == 2 and all(k in reading for k in convolutions), kernels
    assert all("FP8" in {t.dtype for t in k.constants} for k in convolutions)
    assert [k.writes for k in convolutions] == [("Half",)] * 2, "not float32 sums: bias and ReLU are inside"
    assert any(k.kind == "gemm" for k in reading)
    assert stage.narrow_kernels(kernels, "fp8") > len(reading), "and kernels that round before them"
    with pytest.raises(BuildError, match=r"sm86.*fp8_e4m3"):
        runtime.build(done.model, BuildOptions(BatchRange(4, 4, 4), targets=("SM86",)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--calibrator", "entropy"],
            "--calibrator entropy chooses among equal steps, which fp8 does not have",
        ),
        (["--calibrator", "minmacks"], "did you mean minmax? accepted are minmax, percentile"),
        (["--targets", "SM89,SM86"], "--targets SM86: fp8 needs compute capability 8.9 or above"),
        (["--keep-fp32", "stage1"], "--quant-keep names layers that stay float"),
    ],
)
def test_mistakes_in_flags(arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message.replace("?", r"\?")):
        flags.parse("to_trt", ["--ckpt", "x", "--precision", "fp8", *arguments])


def test_flags_and_their_defaults() -> None:
    request = flags.parse("to_trt", ["--ckpt", "x", "--precision", "fp8", "--targets", "SM89,SM120"]).quantise
    assert request is not None and (request.precision, request.calibrator, request.rest) == (
        "fp8",
        "minmax",
        "fp16",
    )
    for flag in ("--quant-keep", "--int8-keep"):
        request = flags.parse("to_onnx", ["--ckpt", "x", "--precision", "fp8", flag, "a,b"]).quantise
        assert request is not None and request.keep == ("a", "b"), "the older name is taken too"
    assert bundle_flags.parse(["--onnx", "x", "--targets", "SM86"]).targets == ("SM86",)


def test_an_fp8_file_and_its_bundle(
    small_weights: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "ratio", lambda *calls: 1.0)
    out = tmp_path / "out"
    small = ["--via", "stablehlo", "--image-size", "32", "--batch", "4", "--gate-images", "8"]
    fp8 = ["--precision", "fp8", "--calibration-images", "8", "--quant-keep", "first,last,stage1.*"]
    status = to_onnx.main(["--ckpt", str(small_weights), "--out", str(out), *small, *fp8])
    said = capsys.readouterr()
    assert status == 0, said.err
    assert "fp8      12 layers (6 kept float), minmax of 8 images" in said.out
    assert "graph_optimization_level=ORT_DISABLE_ALL" in said.out
    data = json.loads((out / "report.json").read_text())
    assert data["int8"] is None and data["fp8"]["bytes_fp8"] < data["fp8"]["bytes_float"]
    assert data["fp8"]["searched"] is None and not data["gate"]["emulated"], "the very file was run"
    lines = [line for line in data["gate"]["comparisons"] if line["candidate"] == "model.onnx"]
    assert all(parity.FP16_LIMIT < line["relative"] <= parity.FP8_LIMIT for line in lines)
    assert "Layers in fp8" in (out / "report.html").read_text()
    assert to_trt.main(["--onnx", str(out), "--runtime", "onnxruntime"]) == 0
    assert to_trt.main(["--onnx", str(out), "--targets", "SM80"]) == 2
    assert "--targets SM80: fp8 needs compute capability 8.9" in capsys.readouterr().err


def test_an_engine_without_fp8_is_told() -> None:
    from export.runtimes.kernels import Kernel

    kernels = [Kernel("conv", "correlation", ("Half",))]
    assert wrong_precision(kernels, "fp8", 1.0) == ["the engine is not in fp8: none of 1 kernels writes it"]
    assert not wrong_precision([dataclasses.replace(kernels[0], writes=("FP8",))], "fp8", 1.0)
