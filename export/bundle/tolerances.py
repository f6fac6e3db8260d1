"""The limits of the gate, as a bundle takes them with it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from export import detections, parity
from export.bundle import CLASSES
from export.bundle.gatefile import Limits


def tolerances(
    answers: str,
    precision: str,
    onnx_limit: float,
    expected: Mapping[str, np.ndarray],
    *,
    trained: bool = True,
) -> dict[str, Limits]:
    """What each output of the file, its engine and an engine with TF32 may differ by.

    Args:
      answers: one of `export.bundle.ANSWERS`. onnx_limit: what the file passed, where not of detections.
      expected: outputs by name. trained: whether the weights are.
    """
    if answers == "detections":
        return _of_detections(precision, trained)
    engine = parity.ENGINE_LIMITS[precision]
    if precision == "fp32" and answers != CLASSES:  # as much wider as that of the file, see `gate_engine`
        engine *= parity.FP32_MAP_LIMIT / parity.FP32_LIMIT
    limits = {"onnx": onnx_limit, "engine": engine, "engine_tf32": max(engine, parity.ENGINE_TF32_LIMIT)}
    return {key: dict.fromkeys(expected, limit) for key, limit in limits.items()}


def _of_detections(precision: str, trained: bool) -> dict[str, Limits]:
    """Beside those of the outputs, the rules of `export.sure` where rounding may decide which box stays."""
    lost = {"labels": detections.LOST_LIMIT}
    return {
        "onnx": {**lost, **detections.limits(precision, trained=trained)},
        "engine": {**lost, **detections.limits(precision, engine=True, trained=trained)},
        "engine_tf32": {**lost, **detections.limits(precision, engine=True, tf32=True, trained=trained)},
    }
