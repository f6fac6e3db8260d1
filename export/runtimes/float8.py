"""Files with float8 numbers, which ONNX Runtime computes rightly only as they stand."""

from __future__ import annotations

from typing import Any

from export._optional import available, require


def as_it_stands(options: Any, model: bytes, ort: Any) -> None:
    """Switches off all rewrites in the session options of a file with FLOAT8 numbers.

    ONNX Runtime 1.31 rounds to float8 as the standard says, but its rewrites of quantised graphs take all
    8-bit numbers for integers: it refuses some such files, and runs others with wrong answers.
    """
    if _holds_float8(model):
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL


def _holds_float8(model: bytes) -> bool:
    if not available("onnx"):
        return b".fp8" in model  # so are such weights called in files of ours
    onnx = require("onnx")
    graph = onnx.load_model_from_string(model).graph
    return any(tensor.data_type == onnx.TensorProto.FLOAT8E4M3FN for tensor in graph.initializer)
