"""An engine against the engine of the same model in another precision: size, kernels, and speed on a GPU."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from export.engine_flags import options
from export.flags import Request
from export.runtimes import Built, Choice
from export.runtimes.kernels import Kernel


@dataclass(frozen=True)
class Versus:
    """Of the other engine: `bytes`, `kernels` (None if the builder does not tell). `gpu_ratio`: time of the
    engine over that of the other, None where the engine does not run."""

    bytes: int
    kernels: tuple[Kernel, ...] | None
    gpu_ratio: float | None


def versus(
    request: Request, choice: Choice, built: Built, ran: bool, other: bytes, images: np.ndarray
) -> Versus:
    """Builds `other`, an ONNX file, like `built`, and measures both in turns if `built` ran.

    The user's timing cache is left out: its times, and the hash that the report gives, are of `built`.

    Args:
      images: one batch, in the layout of the file's input.

    Raises:
      BuildError, RuntimeError: the other engine does not build or run.
    """
    asked = options(request, request.batch)
    alike = replace(asked, builder=replace(asked.builder, timing_cache=None))
    engine = choice.runtime.build(other, alike)
    ratio = _gpu_ratio(choice, built, engine, images, request.cuda_graph) if ran else None
    return Versus(len(engine.engine or b""), engine.kernels, ratio)


def _gpu_ratio(choice: Choice, built: Built, other: Built, images: np.ndarray, cuda_graph: bool) -> float:
    """Median time of the one over that of the other; each measures itself, in turns."""
    turns = (built, other, built, other)
    sessions = [choice.runtime.open(one, cuda_graph=cuda_graph) for one in turns]
    try:
        times = [session.latency(images).median_ms for session in sessions]
    finally:
        for session in sessions:
            session.close()
    return (times[0] + times[2]) / (times[1] + times[3])
