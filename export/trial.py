"""Trying what was built: run, gate and time the engine where there is a GPU, else time the ONNX file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from export.batch import BatchRange
from export.flags import Request
from export.gate import gate_engine
from export.latency import Latency
from export.parity import Comparison
from export.precision import CANNOT_RUN
from export.runtimes import BuildError, Built, Choice, Session
from export.runtimes.kernels import Kernel
from export.runtimes.onnxruntime import OnnxRuntime

#: Half precisions -> their names in messages and in the builder's list of layers.
HALF = {"fp16": ("float16", "Half"), "bf16": ("bfloat16", "BFloat16")}
#: The 8-bit types by precision, in the builder's list of layers.
NARROW = {"int8": "Int8", "fp8": "FP8"}
#: An engine is in half precision if at least this share of the kernels that should write that do, and nothing
#: wider. The rest are border casts and statistics in float32; a weakly typed build would have none or few.
MIN_HALF_SHARE = 0.5


@dataclass(frozen=True)
class Trial:
    """`ran`: whether the engine ran; `why_not`: the reason if it did not; `comparisons`: engine against
    JAX; `latencies`: of the engine, or else of the ONNX file on the CPU; `kernels`: as the running engine
    told them; `errors`: what went wrong."""

    ran: bool = False
    why_not: str | None = None
    comparisons: tuple[Comparison, ...] = ()
    latencies: tuple[Latency, ...] = ()
    kernels: tuple[Kernel, ...] | None = None
    errors: tuple[str, ...] = field(default=())

    @property
    def passed(self) -> bool:
        return not self.errors and all(line.passed for line in self.comparisons)


def try_engine(
    request: Request, choice: Choice, built: Built | None, subject: Any, model: bytes, *, half_share: float
) -> Trial:
    """Runs the engine if there is one and this machine can; measures latency either way.

    `half_share` is that of the file (`Economy`).

    Raises nothing for an engine that fails: the failure is in the result.
    """
    why_not = _why_not(choice, built)
    errors = [] if built is None else wrong_precision(built.kernels, request.precision, half_share)
    if why_not is not None:
        if request.require_engine_run:
            errors.append(f"--require-engine-run: {why_not}")
        measured = (
            () if request.precision in CANNOT_RUN else _cpu_latencies(request.batch, subject.inputs, model)
        )
        return Trial(False, why_not, (), measured, None, tuple(errors))
    assert built is not None
    try:
        session = choice.runtime.open(built, cuda_graph=request.cuda_graph)
    except (BuildError, RuntimeError) as error:
        return Trial(False, "it did not load", errors=(*errors, f"the engine does not load here: {error}"))
    try:
        comparisons = gate_engine(
            session,
            subject.inputs,
            subject.reference,
            output=subject.output,
            precision=request.precision,
            tf32=request.tf32,
            batch=request.batch,
            ends=request.ends,
            trained=not request.random_weights,
            candidate=choice.runtime.deploys,
        )
        latencies = latencies_of(session, request.batch, subject.inputs)
        kernels = session.kernels() if built.kernels is None else None
    except (BuildError, RuntimeError, ValueError) as error:
        return Trial(False, "it did not run", errors=(*errors, f"the engine does not run here: {error}"))
    finally:
        session.close()
    return Trial(True, None, tuple(comparisons), latencies, kernels, tuple(errors))


def _why_not(choice: Choice, built: Built | None) -> str | None:
    if built is None:
        return "there is no engine"
    if not choice.runtime.builds_engine and not choice.runtime.on_gpu:
        return f"{choice.runtime.name} builds no engine"
    return choice.runtime.why_not_run()


def wrong_precision(kernels: Iterable[Kernel] | None, precision: str, half_share: float) -> list[str]:
    """Reads back in which types the engine computes: builders have ignored the asked one in silence.

    `half_share` is that of the file (`Economy`): what is float32 there may be float32 in the engine.
    """
    if kernels is not None and precision in NARROW:
        known = [kernel for kernel in kernels if kernel.writes]
        used = any(NARROW[precision] in kernel.writes for kernel in known)
        return (
            []
            if used or not known
            else [f"the engine is not in {precision}: none of {len(known)} kernels writes it"]
        )
    if kernels is None or precision not in HALF:
        return []
    word, kind = HALF[precision]
    written = [kernel.writes for kernel in kernels if kernel.writes]
    half = sum(set(types) == {kind} for types in written)
    if written and half / len(written) >= MIN_HALF_SHARE * half_share:
        return []
    return [f"the engine is not in {word}: {half} of its {len(written)} kernels write {word}"]


def _cpu_latencies(batch: BatchRange, inputs: np.ndarray, model: bytes) -> tuple[Latency, ...]:
    runtime = OnnxRuntime()
    session = runtime.open(Built(runtime.name, model, None, 0.0))
    try:
        return latencies_of(session, batch, inputs)
    finally:
        session.close()


def latencies_of(session: Session, batch: BatchRange, inputs: np.ndarray) -> tuple[Latency, ...]:
    """At the typical batch, and at the smallest if that differs."""
    return tuple(session.latency(inputs[:size]) for size in sorted({batch.minimum, batch.typical}))
