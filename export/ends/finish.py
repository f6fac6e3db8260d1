"""The last step of a file: what stands behind its logits is put there, and the whole is gated as it ships."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx

from export.batch import BatchRange
from export.ends.compare import compare_with_jax
from export.ends.spec import Ends
from export.ends.tail import attach
from export.gate import EMULATED, Gate
from export.parity import Comparison
from export.precision import CANNOT_RUN
from export.precision.emulate import emulated
from export.precision.report import WORDS
from export.runtimes.onnxruntime import OnnxSession


def finish(
    model: bytes,
    gate: Gate,
    ends: Ends,
    inputs: np.ndarray,
    answers: Mapping[str, np.ndarray],
    *,
    output: str,
    precision: str,
    batch: BatchRange,
) -> tuple[bytes, Gate]:
    """The file with its tail, and the gate of the file up to its logits with that of the tail added.

    Args:
      gate: of `model`, which answers logits; one that failed is not gated again.
      inputs: the gate's images as the file takes them; answers: JAX's logits on them, by form.
    """
    if ends.postprocess == "none":
        return model, gate
    made = attach(model, ends)
    if not gate.passed:
        return made, gate
    lines: list[Comparison] = []
    for candidate, file in _runnable(made, precision).items():
        session = OnnxSession(file)
        try:
            lines += compare_with_jax(
                session.run,
                inputs,
                answers,
                ends,
                output=output,
                candidate=candidate,
                batches=batch.gate_sizes,
                limit=gate.limit,
                exact_top1=precision == "fp32",
            )
        finally:
            session.close()
    if any(line.forced for line in gate.comparisons):
        lines = [replace(line, forced=True) for line in lines]
    return made, replace(gate, comparisons=(*gate.comparisons, *lines))


def _runnable(model: bytes, precision: str) -> dict[str, bytes]:
    """The file itself and, in half precision, the copy that rounds as it says (`precision.settle`)."""
    found = {}
    if precision in WORDS:
        found[EMULATED] = emulated(onnx.load_model_from_string(model)).SerializeToString()
    if precision not in CANNOT_RUN:
        found["model.onnx"] = model
    return found
