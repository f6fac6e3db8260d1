"""Gating and timing what a bundle holds and what was built from it, against the bundle's own answers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from export._optional import available
from export.batch import BatchRange
from export.bundle.compare import compare
from export.bundle.flags import BundleRequest
from export.bundle.read import Bundle
from export.parity import Comparison
from export.precision import CANNOT_RUN
from export.precision.tf32_gate import TF32, tf32_copy
from export.runtimes import BuildError, Built, Choice
from export.trial import Trial, latencies_of, wrong_precision


def why_not_gated(bundle: Bundle) -> str | None:
    """None if ONNX Runtime can run model.onnx here, else the reason, and what it means."""
    if not available("onnxruntime"):
        reason = "onnxruntime is not installed"
    elif bundle.precision in CANNOT_RUN:
        reason = f"ONNX Runtime has no {bundle.precision} arithmetic on the CPU"
    else:
        return None
    return (
        f"{reason}: model.onnx was not run here; its figures in the report are those of the machine that "
        "wrote the bundle"
    )


def gate_onnx(bundle: Bundle, batch: BatchRange) -> list[Comparison] | None:
    """model.onnx in ONNX Runtime against the expected outputs; None where it cannot run it.

    Raises:
      BuildError: ONNX Runtime does not load or run the file.
    """
    if why_not_gated(bundle):
        return None
    from export.runtimes.onnxruntime import OnnxSession

    session = OnnxSession(bundle.model)
    try:
        return _compare(session.run, bundle, "model.onnx", batch, "onnx")
    finally:
        session.close()


def why_no_tf32(bundle: Bundle) -> str | None:
    """None if what TF32 costs can be told here without a GPU, else the reason."""
    if bundle.precision != "fp32":
        return f"TF32 is not emulated for {bundle.precision} files"
    missing = [name for name in ("onnx", "onnxruntime") if not available(name)]
    return f"TF32 was not emulated: {' and '.join(missing)} not installed" if missing else None


def gate_tf32(bundle: Bundle, batch: BatchRange) -> list[Comparison]:
    """A copy of model.onnx whose factors are rounded to TF32, against the expected outputs.

    Raises:
      BuildError: ONNX Runtime does not run it. ValueError: model.onnx is not an ONNX file.
    """
    from export.runtimes.onnxruntime import OnnxSession

    session = OnnxSession(tf32_copy(bundle.model))
    try:
        return _compare(session.run, bundle, TF32, batch, "engine_tf32")
    finally:
        session.close()


def try_engine(
    request: BundleRequest, choice: Choice, built: Built | None, bundle: Bundle, batch: BatchRange
) -> Trial:
    """Runs, gates and times the engine if there is one and this machine can; else times the ONNX file.

    Raises nothing for an engine that fails: the failure is in the result.
    """
    if built is None:
        return Trial(False, "there is no engine")
    errors = wrong_precision(built.kernels, bundle.precision, bundle.half_share)
    deployed = choice.runtime.builds_engine or choice.runtime.on_gpu
    reason = None if deployed else f"{choice.runtime.name} builds no engine"
    reason = reason or choice.runtime.why_not_run()
    if reason is not None:
        if request.require_engine_run:
            errors.append(f"--require-engine-run: {reason}")
        return _without_engine(bundle, batch, reason, errors)
    try:
        session = choice.runtime.open(built, cuda_graph=request.cuda_graph)
    except (BuildError, RuntimeError) as error:
        return Trial(False, "it did not load", errors=(*errors, f"the engine does not load here: {error}"))
    try:
        held_to = "engine_tf32" if request.tf32 else "engine"
        compared = _compare(session.run, bundle, choice.runtime.deploys, batch, held_to)
        latencies = latencies_of(session, batch, bundle.gate.inputs)
        kernels = session.kernels() if built.kernels is None else None
    except (BuildError, RuntimeError, ValueError) as error:
        return Trial(False, "it did not run", errors=(*errors, f"the engine does not run here: {error}"))
    finally:
        session.close()
    return Trial(True, None, tuple(compared), latencies, kernels, tuple(errors))


def _without_engine(bundle: Bundle, batch: BatchRange, reason: str, errors: list[str]) -> Trial:
    latencies = ()
    if why_not_gated(bundle) is None:
        from export.runtimes.onnxruntime import OnnxSession

        session = OnnxSession(bundle.model)
        try:
            latencies = latencies_of(session, batch, bundle.gate.inputs)
        finally:
            session.close()
    return Trial(False, reason, (), latencies, None, tuple(errors))


def _compare(
    run: Callable[[np.ndarray], dict[str, np.ndarray]],
    bundle: Bundle,
    candidate: str,
    batch: BatchRange,
    held_to: str,
) -> list[Comparison]:
    try:
        return compare(bundle.gate, run, candidate=candidate, batches=batch.gate_sizes, held_to=held_to)
    except ValueError as error:
        raise BuildError(f"{candidate} does not answer as the bundle says: {error}") from error
