"""Where Q/DQ go in small graphs, and what these compute."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export._optional import available
from export.batch import BatchRange
from export.quantize.flags import QuantiseRequest
from export.quantize.insert import insert
from export.quantize.place import plan
from export.quantize.rest import check_rest
from export.quantize.stage import narrow_kernels
from export.quantize.work import Quantiser
from export.runtimes.onnxruntime import OnnxSession

#: Of the largest logit: three layers of some ten terms, each rounded to 255 steps a tensor.
INT8_TOLERANCE = 0.03


def operators(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def typed(model: bytes) -> onnx.ModelProto:
    """With the types of all tensors recorded, as the bridge does."""
    return onnx.shape_inference.infer_shapes(onnx.load_model_from_string(model))


def residual(kind: str = "Add") -> onnx.ModelProto:
    """x -> conv a -> relu -> conv b (depthwise) -> conv c; the relu's result is added behind c."""
    rng = np.random.default_rng(0)
    shapes = {"a.kernel": (4, 4, 1, 1), "b.kernel": (4, 1, 3, 3), "c.kernel": (4, 4, 1, 1)}
    held = [numpy_helper.from_array(rng.normal(size=s).astype(np.float32), n) for n, s in shapes.items()]
    nodes = [
        helper.make_node("Conv", ["x", "a.kernel"], ["y0"]),
        helper.make_node("Relu", ["y0"], ["y1"]),
        helper.make_node("Conv", ["y1", "b.kernel"], ["y2"], group=4, pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["y2", "c.kernel"], ["y3"]),
        helper.make_node(kind, ["y1", "y3"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 4, 6, 6]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "residual", ends[:1], ends[1:], held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model)


def test_one_pair_for_each_input_and_one_dequantise_for_each_weight(tiny_net: Any) -> None:
    model = typed(tiny_net.make())
    found = plan(model, keep=())
    assert found.layers == ["stage1", "stage2", "head"] and not found.kept
    made = insert(model, found, dict.fromkeys(found.activations, 1.0))
    onnx.checker.check_model(made, full_check=True)
    count = operators(made)
    assert (count["QuantizeLinear"], count["DequantizeLinear"]) == (3, 6)
    assert operators(model) == Counter({name: n for name, n in count.items() if "tizeLinear" not in name})
    held = {tensor.name: tensor for tensor in made.graph.initializer}
    assert held["stage1.kernel.int8"].data_type == TensorProto.INT8 and "stage1.kernel" not in held
    assert list(held["head.kernel.scale"].dims) == [5] and list(held["stage1.kernel.scale"].dims) == [6]
    assert held["stage1.bias"].data_type == TensorProto.FLOAT
    axes = {
        n.name: helper.get_node_attr_value(n, "axis")
        for n in made.graph.node
        if n.name.endswith("kernel.dequantize")
    }
    assert axes == {"stage1.kernel.dequantize": 0, "stage2.kernel.dequantize": 0, "head.kernel.dequantize": 1}


def test_ends_stay_float_unless_told_otherwise(tiny_net: Any) -> None:
    model = typed(tiny_net.make())
    found = plan(model)
    assert found.layers == ["stage2"] and found.kept == {
        "stage1": "the first layer",
        "head": "the last layer",
    }
    assert plan(model, keep=("stage[12]",)).layers == ["head"]
    with pytest.raises(ValueError, match=r"--quant-keep stage9: no such layer; accepted are first, last"):
        plan(model, keep=("stage9",))
    with pytest.raises(ValueError, match="nothing is left to quantise"):
        plan(model, keep=("*",))


def test_depthwise_stays_float_and_the_other_branch_of_a_sum_is_read_as_int8() -> None:
    found = plan(residual(), keep=())
    assert found.layers == ["a", "c"] and found.kept == {"b": "depthwise"}
    assert found.activations == {"x": [(0, 0)], "y2": [(3, 0)], "y1": [(4, 0)]}
    assert set(plan(residual("Mul"), keep=()).activations) == {"x", "y2"}, "only sums"
    assert set(plan(residual(), keep=("c",)).activations) == {"x"}, "the sum ends in no int8 convolution"


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("calibrator", ["minmax", "percentile", "entropy"])
def test_the_int8_file_answers_nearly_as_the_float_file(tiny_net: Any, half: bool, calibrator: str) -> None:
    base = typed(tiny_net.make(half=half)).SerializeToString()
    images = np.ascontiguousarray(tiny_net.images(16).transpose(0, 3, 1, 2))
    done = Quantiser(base, QuantiseRequest(calibrator=calibrator, keep=()), images, "noise", batch=4).write()
    got = OnnxSession(done.model).run(images[:4])["logits"]
    want = tiny_net.features(images[:4].transpose(0, 2, 3, 1))["logits"]
    error = np.abs(got - want).max() / np.abs(want).max()
    assert 1e-4 < error < INT8_TOLERANCE, "int8 rounds, but not more than that"


def test_biases_survive_float16_scales(tiny_net: Any) -> None:
    """Biases of more steps than float16 can count: ONNX Runtime left to itself clips them (error 0.7)."""
    weights = dict(tiny_net.weights)
    weights["stage1.kernel"] = weights["stage1.kernel"] * np.float32(0.01)
    weights["stage1.bias"] = weights["stage1.bias"] * np.float32(10.0)
    net = type(tiny_net)(weights)
    base = typed(net.make(half=True)).SerializeToString()
    images = np.ascontiguousarray(net.images(4).transpose(0, 3, 1, 2))
    done = Quantiser(base, QuantiseRequest(calibrator="minmax", keep=()), images, "noise", batch=4).write()
    want = net.features(images.transpose(0, 2, 3, 1))["logits"]
    error = np.abs(OnnxSession(done.model).run(images)["logits"] - want).max() / np.abs(want).max()
    assert error < INT8_TOLERANCE


def test_a_channel_of_outliers_keeps_the_others_exact(tiny_net: Any) -> None:
    """One output channel is a hundred times as large; each has its scale, so no other suffers."""
    weights = dict(tiny_net.weights)
    weights["stage2.kernel"] = weights["stage2.kernel"] * np.array([100.0] + [1.0] * 6, np.float32)
    model = typed(type(tiny_net)(weights).make())
    found = plan(model)
    made = insert(model, found, dict.fromkeys(found.activations, 10.0))
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer}
    rounded = held["stage2.kernel.int8"].astype(np.float64) * held["stage2.kernel.scale"].reshape(-1, 1, 1, 1)
    exact = weights["stage2.kernel"].T
    error = np.abs(rounded[:, :, 0, 0] - exact).max(1) / np.abs(exact).max(1)
    assert (error <= 0.5 / 127 * 1.001).all(), "half a step of 127, of each channel's own size"


def test_activations_that_are_not_finite_are_named(tiny_net: Any) -> None:
    base = typed(tiny_net.make()).SerializeToString()
    images = np.full((4, 3, 8, 8), np.nan, np.float32)
    with pytest.raises(ValueError, match=r"calibration: x2: NaN or infinity"):
        Quantiser(base, QuantiseRequest(), images, "nothing", batch=4)


def test_the_metadata_and_the_count_of_images(tiny_net: Any) -> None:
    model = typed(tiny_net.make())
    helper.set_model_props(model, {"precision": "fp16", "model": "tiny"})
    images = np.ascontiguousarray(tiny_net.images(6).transpose(0, 3, 1, 2))
    seen: list[tuple[int, int]] = []
    done = Quantiser(
        model.SerializeToString(), QuantiseRequest(), images, "noise", 4, lambda a, b: seen.append((a, b))
    ).write()
    props = {entry.key: entry.value for entry in onnx.load_model_from_string(done.model).metadata_props}
    assert props == {"precision": "int8", "model": "tiny"}
    assert seen == [(1, 2), (2, 2)] and done.images == 6, "the last batch is filled up"


@pytest.mark.skipif(not available("tensorrt_rtx_bindings"), reason="TensorRT for RTX is not installed")
def test_tensorrt_computes_the_quantised_layers_in_int8() -> None:
    """The builder's own list: convolutions read int8 and hold int8 weights, the depthwise one does not."""
    from export import runtimes
    from export.runtimes import BuildOptions

    model = residual()
    found = plan(model, keep=())
    made = insert(model, found, dict.fromkeys(found.activations, 4.0)).SerializeToString()
    options = BuildOptions(BatchRange(2, 2, 2), targets=("SM89",))
    kernels = runtimes.make("tensorrt_rtx").build(made, options).kernels
    assert kernels is not None
    reading = [k for k in kernels if k.kind == "correlation" and "Int8" in {t.dtype for t in k.inputs}]
    assert len(reading) == 2, [k.name for k in kernels]
    assert all("Int8" in {t.dtype for t in kernel.constants} for kernel in reading)
    assert narrow_kernels(kernels, "int8") >= len(reading) + 2, "and kernels that round to int8 before them"


def test_a_rest_that_float16_does_not_hold_is_refused(tiny_net: Any) -> None:
    """ONNX Runtime would not show it: it computes float16 in float32 where it can."""
    images = np.ascontiguousarray(tiny_net.images(3).transpose(0, 3, 1, 2))
    check_rest(typed(tiny_net.make(half=True)).SerializeToString(), images, 4)
    large = {name: value.copy() for name, value in tiny_net.weights.items()}
    large["stage1.kernel"] *= 3e4
    large["stage2.kernel"] /= 3e4
    net = type(tiny_net)(large)
    with pytest.raises(ValueError, match=r"--quant-rest fp16: x1 reaches .*; --quant-rest fp32 holds it"):
        check_rest(typed(net.make(half=True)).SerializeToString(), images, 4)
    check_rest(typed(net.make()).SerializeToString(), images, 4)
    large["stage1.kernel"] *= 1e3
    with pytest.raises(ValueError, match="weights beyond its 65504"), np.errstate(over="ignore"):
        check_rest(typed(type(tiny_net)(large).make(half=True)).SerializeToString(), images, 4)


def test_a_product_whose_sums_float16_does_not_hold_stays_float(tiny_net: Any) -> None:
    """A small channel of weights with large results: 40 over a 127th of 0.05 is beyond 65504."""
    images = np.ascontiguousarray(tiny_net.images(6).transpose(0, 3, 1, 2))
    small = {name: value.copy() for name, value in tiny_net.weights.items()}
    small["stage2.kernel"] *= 300
    small["stage2.bias"] *= 300
    small["head.kernel"][:, 1] *= 0.05 / np.abs(small["head.kernel"][:, 1]).max()
    net = type(tiny_net)(small)
    request = QuantiseRequest(calibrator="minmax", keep=())
    half = Quantiser(typed(net.make(half=True)).SerializeToString(), request, images, "noise", batch=4)
    sums = half.write()
    logits = np.abs(net.features(images.transpose(0, 2, 3, 1))["logits"] - small["head.bias"])[:, 1].max()
    assert logits / (0.05 / 127) > 65504 and sums.layers == ("stage1", "stage2") == half.layers
    assert "before the scales of its weights, and fp16 ends at 65504" in sums.kept["head"]
    full = Quantiser(typed(net.make()).SerializeToString(), request, images, "noise", batch=4)
    assert full.layers == ("stage1", "stage2", "head"), "float32 around it holds them"
    eased = dataclasses.replace(request, precision="fp8")
    fp8 = Quantiser(typed(net.make(half=True)).SerializeToString(), eased, images, "noise", batch=4)
    assert fp8.layers == full.layers, "one scale for all channels is applied before anything is written"
