"""The bundle of an accepted export: what `export.bundle` writes, taken from the parts of the command."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from export import attribution
from export.answers import DEPLOY_FORM, Reference
from export.bundle import CLASSES
from export.bundle.gatefile import GateFile
from export.bundle.tolerances import tolerances
from export.bundle.unpack import LARGEST
from export.bundle.write import bundle_files, kept
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
) -> str | None:
    """Stages every file of the bundle but model.onnx in `folder`; returns why not, if that cannot be.

    Args:
      report: the content of report.json.
      inputs: the gate's images in the layout of the file's input. answers: JAX's on them.
    """
    gate = kept(_gate(outcome, inputs, answers), outcome.request.batch)
    if gate.nbytes > LARGEST:
        return (
            f"no bundle: the answers to {len(gate)} images are {gate.nbytes / 1e9:.1f} GB, and "
            f"gate.npz holds {LARGEST / 1e9:.1f} GB at most; a smaller largest batch has one"
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
        sides=source.eval_resize,
        platform="tensorrt_plan" if served else "onnxruntime_onnx",
        options=options(outcome.request, outcome.request.batch),
    )
    for name, content in files.items():
        folder.write(name, content)
    return None


def _gate(outcome: Outcome, inputs: np.ndarray, answers: Reference) -> GateFile:
    request, kind = outcome.request, outcome.kind
    outputs = answers.named(kind.output)[DEPLOY_FORM]
    trained = not outcome.source.random
    limits = tolerances(kind.name, request.precision, outcome.gate.limit, outputs, trained=trained)
    if kind.name != CLASSES:
        outputs = {name: outputs[name] for name in kind.outputs}
        return GateFile(INPUT, inputs, outputs, limits, kind.name, least_score=kind.least_score)
    logits = outputs[kind.output]
    output = request.ends.compared(kind.output)
    return GateFile(
        input=INPUT,
        inputs=inputs,
        expected={output: expected(request.ends, logits)},
        tolerances={
            key: {output: relative_limit(request.ends, limit[kind.output], logits)}
            for key, limit in limits.items()
        },
        exact_top1=request.precision == "fp32",
        top=request.ends.top,
    )
