"""What the tests of dense prediction share: single ONNX operators as an oracle that is not ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest


@pytest.fixture(scope="session")
def onnx_operator() -> Callable[..., list[np.ndarray]]:
    """`onnx_operator(kind, *inputs, **attributes)` -> the first result of this operator in ONNX Runtime."""

    def run(kind: str, *inputs: np.ndarray, opset: int = 20, **attributes: Any) -> np.ndarray:
        import onnxruntime
        from onnx import TensorProto, helper, shape_inference

        names = [f"input_{number}" for number in range(len(inputs))]
        entries = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in zip(names, inputs, strict=True)
        ]
        node = helper.make_node(kind, names, ["result"], **attributes)
        result = helper.make_tensor_value_info("result", TensorProto.UNDEFINED, None)
        model = helper.make_model(
            helper.make_graph([node], "one", entries, [result]),
            opset_imports=[helper.make_opsetid("", opset)],
            ir_version=10,
        )
        inferred = shape_inference.infer_shapes(model).graph.output[0]
        model.graph.output[0].CopyFrom(inferred)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return session.run(None, dict(zip(names, inputs, strict=True)))[0]

    return run


@pytest.fixture(scope="session")
def draw_boxes() -> Callable[..., np.ndarray]:
    """`draw_boxes(rng, *shape, size=(h, w), least=1, most=None)` -> boxes inside an image, float32."""

    def draw(
        rng: np.random.Generator,
        *shape: int,
        size: tuple[int, int] = (64, 96),
        least: float = 1.0,
        most: float | None = None,
    ) -> np.ndarray:
        limits = np.array([size[1], size[0]], np.float64)
        longest = np.minimum(limits, most or np.inf)
        sides = rng.uniform(least, longest, (*shape, 2))
        corners = rng.uniform(0, 1, (*shape, 2)) * (limits - sides)
        return np.concatenate([corners, corners + sides], -1).astype(np.float32)

    return draw
