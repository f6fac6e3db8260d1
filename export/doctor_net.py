"""The doctor's patient: a convolutional network of five operators, as ONNX in each precision and in NumPy.

It is written with onnx.helper alone, so that a broken JAX does not hide a working runtime.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from export._optional import require

PRECISIONS = ("fp32", "tf32", "fp16", "bf16", "int8", "fp8")
BATCH, SIZE, CHANNELS, WIDTH, CLASSES = 2, 16, 3, 16, 8
#: Largest difference from NumPy in float64, of the largest logit, that each precision may show: rounding
#: to 24, 11, 8 or 4 significant bits or to 255 steps, with room for another order of summation (ONNX Runtime
#: shows 1e-7, 2e-4, 3e-3 and 1.5e-2 in fp32, fp16, int8 and fp8). A wrong layout, scale or weight shows 0.3
#: and more.
LIMITS = {"fp32": 5e-5, "tf32": 2e-3, "fp16": 2e-3, "bf16": 2e-2, "int8": 3e-2, "fp8": 1.5e-1}
#: Largest magnitude of the quantised types.
_LARGEST = {"int8": 127.0, "fp8": 448.0}
OPSET, IR_VERSION = 22, 10


def weights() -> dict[str, np.ndarray]:
    """Fixed weights, float32; kernels are (out, in, height, width)."""
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return (rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)

    return {
        "conv1.kernel": draw(WIDTH, CHANNELS, 3, 3),
        "conv2.kernel": draw(WIDTH, WIDTH, 1, 1),
        "head.kernel": draw(CLASSES, WIDTH),
        "head.bias": rng.normal(size=CLASSES).astype(np.float32),
    }


def images() -> np.ndarray:
    """The same smooth images on every machine, (batch, channels, height, width) float32."""
    place = np.arange(BATCH * CHANNELS * SIZE * SIZE, dtype=np.float64)
    return np.sin(place * 0.37 + 1e-3 * place**1.5).astype(np.float32).reshape(BATCH, CHANNELS, SIZE, SIZE)


def answers() -> dict[str, np.ndarray]:
    """Every activation in float64 by NumPy; "logits" is the answer."""
    w = {name: value.astype(np.float64) for name, value in weights().items()}
    x = images().astype(np.float64)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    first = np.maximum(np.einsum("bihwyx,oiyx->bohw", windows, w["conv1.kernel"]), 0)
    second = np.maximum(np.einsum("bihw,oi->bohw", first, w["conv2.kernel"][:, :, 0, 0]), 0)
    pooled = second.mean((2, 3))
    return {
        "images": x,
        "first": first,
        "second": second,
        "pooled": pooled,
        "logits": pooled @ w["head.kernel"].T + w["head.bias"],
    }


def make(precision: str) -> bytes:
    """The network as an ONNX file; input and output are float32 in every precision.

    "int8" and "fp8" have explicit quantisation (Q/DQ) around every convolution and the matrix product, one
    scale for a tensor and one for each output channel of a weight. "tf32" is the float32 file: TF32 is the
    builder's choice.
    """
    return _Writer(precision).model()


class _Writer:
    def __init__(self, precision: str) -> None:
        self.onnx = require("onnx")
        kinds = self.onnx.TensorProto
        self.precision = precision
        self.computed = {"fp16": kinds.FLOAT16, "bf16": kinds.BFLOAT16}.get(precision, kinds.FLOAT)
        self.nodes: list[Any] = []
        self.held: list[Any] = []
        self.values, self.ranges = weights(), answers()

    def model(self) -> bytes:
        helper, kinds = self.onnx.helper, self.onnx.TensorProto
        x = self._cast("images", self.computed, "typed_images")
        x = self._node("Conv", [self._quantised(x, "images"), self._weight("conv1.kernel")], pads=[1] * 4)
        x = self._node("Relu", [x])
        x = self._node("Conv", [self._quantised(x, "first"), self._weight("conv2.kernel")])
        x = self._node("GlobalAveragePool", [self._node("Relu", [x])])
        x = self._node("Flatten", [x])
        weight = self._weight("head.kernel")
        product = self._node(
            "Gemm", [self._quantised(x, "pooled"), weight, self._plain("head.bias")], transB=1
        )
        self._cast(product, kinds.FLOAT, "logits", always=True)
        graph = helper.make_graph(
            self.nodes,
            f"doctor_{self.precision}",
            [helper.make_tensor_value_info("images", kinds.FLOAT, [BATCH, CHANNELS, SIZE, SIZE])],
            [helper.make_tensor_value_info("logits", kinds.FLOAT, [BATCH, CLASSES])],
            self.held,
        )
        opset = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION).SerializeToString()

    def _node(self, kind: str, inputs: list[str], output: str | None = None, **attributes: Any) -> str:
        output = output or f"{kind}_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def _cast(self, value: str, to: int, name: str, always: bool = False) -> str:
        if self.computed == self.onnx.TensorProto.FLOAT:
            return self._node("Identity", [value], name) if always else value
        return self._node("Cast", [value], name, to=to)

    def _quantised(self, value: str, activation: str) -> str:
        if self.precision not in _LARGEST:
            return value
        scale = np.abs(self.ranges[activation]).max() / _LARGEST[self.precision]
        parameters = [
            self._hold(f"{activation}.scale", np.float32(scale)),
            self._zero(f"{activation}.zero", ()),
        ]
        return self._node(
            "DequantizeLinear", [self._node("QuantizeLinear", [value, *parameters]), *parameters]
        )

    def _weight(self, name: str) -> str:
        """A weight as the precision holds it: plain, or quantised for each output channel."""
        if self.precision not in _LARGEST:
            return self._plain(name)
        value = self.values[name]
        scale = np.abs(value).reshape(len(value), -1).max(1) / _LARGEST[self.precision]
        parameters = [
            self._hold(f"{name}.scale", scale.astype(np.float32)),
            self._zero(f"{name}.zero", (len(value),)),
        ]
        quantised = value / scale.reshape(-1, *[1] * (value.ndim - 1))
        if self.precision == "int8":
            held = self._hold(f"{name}.int8", np.round(quantised).astype(np.int8))
        else:
            held = self._hold_as(f"{name}.fp8", quantised, self.onnx.TensorProto.FLOAT8E4M3FN)
        return self._node("DequantizeLinear", [held, *parameters], axis=0)

    def _plain(self, name: str) -> str:
        return self._hold_as(name, self.values[name], self.computed)

    def _zero(self, name: str, shape: tuple[int, ...]) -> str:
        if self.precision == "int8":
            return self._hold(name, np.zeros(shape, np.int8))
        return self._hold_as(name, np.zeros(shape, np.float32), self.onnx.TensorProto.FLOAT8E4M3FN)

    def _hold(self, name: str, value: Any) -> str:
        self.held.append(self.onnx.numpy_helper.from_array(np.asarray(value), name))
        return name

    def _hold_as(self, name: str, value: np.ndarray, kind: int) -> str:
        dtype = self.onnx.helper.tensor_dtype_to_np_dtype(kind)
        tensor = self.onnx.numpy_helper.from_array(np.asarray(value).astype(dtype), name)
        assert tensor.data_type == kind, f"onnx wrote {name} as type {tensor.data_type}, not {kind}"
        self.held.append(tensor)
        return name
