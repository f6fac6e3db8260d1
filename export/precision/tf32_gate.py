"""What --tf32 costs, without a GPU: the gate of a copy of the file whose factors are rounded to TF32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from export import detections, gate, steps
from export._optional import require
from export.answers import Reference
from export.batch import BatchRange
from export.pairing import Unpaired
from export.parity import Comparison
from export.report_parts import in_short

#: What a line of the gate calls the copy.
TF32 = "TF32 of model.onnx (emulated)"


def tf32_copy(model: bytes) -> bytes:
    """The file with the factors of its products rounded."""
    onnx = require("onnx")
    from export.precision.tf32 import emulated_tf32

    return emulated_tf32(onnx.load_model_from_string(model)).SerializeToString()


def gate_tf32(
    copy: bytes,
    images: np.ndarray,
    references: Mapping[str, Mapping[str, np.ndarray]],
    *,
    batch: BatchRange,
    limit: float,
    forced: bool = False,
    detector: Reference | None = None,
    trained: bool = False,
) -> list[Comparison]:
    """Runs the copy in ONNX Runtime and compares it with every reference.

    Args:
      images: in the layout of the file's input.
      references: name of the reference -> outputs by name, on all `images`.
      limit: `parity.onnx_limit("tf32", ...)`. Classes may change places: that is judged on more images.
      forced: pass for any finite error.
      detector: of a detector, for its steps; `references` are its outputs then, held to limits of their own.
      trained: whether its weights are.
    """
    from export.runtimes.onnxruntime import OnnxSession

    session = OnnxSession(copy)
    try:
        lines = gate.compare(
            session.run,
            images,
            references,
            0.0 if detector is None else detector.least_score,
            candidate=TF32,
            batches=batch.gate_sizes,
            limit=limit,
            exact_top1=False,
            of_detections=detections.limits("fp32", tf32=True, trained=trained),
        )
    finally:
        session.close()
    if detector is not None:
        most = steps.limit_of("tf32", trained=trained)
        lines += steps.compare(copy, images, detector, candidate=TF32, limit=most)
    return [replace(line, forced=True) for line in lines] if forced else lines


def line_of(comparisons: Sequence[Comparison]) -> str | None:
    """For the summary; None if TF32 was not asked for, or the file itself failed."""
    found = [line for line in comparisons if line.candidate == TF32]
    if not found:
        return None
    errors = [line for line in found if not isinstance(line, Unpaired)]  # a share of detections is no error
    worst = max(errors, key=lambda line: line.share)
    verdict = "passed" if all(line.passed for line in found) else "FAILED"
    return (
        f"{verdict}: with factors rounded to 11 bits, emulated, it differs from JAX by "
        f"{worst.difference.relative:.1e} of the largest value (limit {in_short(worst.limit)}) on "
        f"{worst.images} images"
    )
