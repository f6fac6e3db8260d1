"""The bundle of an accepted export: what `export.bundle` writes, taken from the parts of the command."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from export import attribution
from export.answers import DEPLOY_FORM, Reference
from export.bundle.gatefile import GateFile, tolerances
from export.bundle.write import bundle_files
from export.ends.compare import expected, relative_limit
from export.engine_flags import options
from export.files import OutputFolder
from export.graph import INPUT
from export.outcome import Outcome


def write_bundle(
    folder: OutputFolder,
    outcome: Outcome,
    report: Mapping[str, Any],
    *,
    inputs: np.ndarray,
    answers: Reference,
    output: str,
) -> None:
    """Stages every file of the bundle but model.onnx in `folder`.

    Args:
      report: the content of report.json.
      inputs: the gate's images in the layout of the file's input. answers: JAX's on them.
    """
    request, logits = outcome.request, answers.outputs[DEPLOY_FORM]
    limits = tolerances(request.precision, outcome.gate.limit)
    gate = GateFile(
        input=INPUT,
        output=request.ends.compared(output),
        inputs=inputs,
        expected=expected(request.ends, logits),
        tolerances={key: relative_limit(request.ends, limit, logits) for key, limit in limits.items()},
        exact_top1=request.precision == "fp32",
        top=request.ends.top,
    )
    source, built = outcome.source, outcome.built
    # Triton serves no engines of TensorRT for RTX, and gives none its weights
    served = built is not None and built.engine is not None and built.runtime == "tensorrt"
    if built is not None and built.stripped:
        served = False
    files = bundle_files(
        report,
        outcome.model,
        gate,
        crop_pct=source.crop_pct,
        interpolation=source.interpolation,
        nodes=attribution.node_names(outcome.model),
        channels=source.model.config.in_channels,
        platform="tensorrt_plan" if served else "onnxruntime_onnx",
        options=options(outcome.request, outcome.request.batch),
    )
    for name, content in files.items():
        folder.write(name, content)
