"""The profile of a subject on a runtime of the lab."""

from __future__ import annotations

import dataclasses
from typing import Any

from export.lab.calibrate_keep import Kept
from export.lab.files import Files
from export.lab.profile.op import Op, Profile
from export.lab.profile.pair import Pair
from export.lab.runtimes import Runtime
from export.lab.setting import Setting
from export.lab.subject import Subject

#: Those that can be profiled, in the lab's order.
NAMES = ("tensorrt", "tensorrt_rtx", "onnxruntime", "xla")
SECONDS = 3.0


def take(
    subject: Subject, setting: Setting, runtime: Runtime, files: Files | None = None, seconds: float = SECONDS
) -> Profile:
    """Runs the subject for about `seconds`, half of it under the runtime's profiler.

    With `Keeping` around the runtime nothing that was measured before is built again.

    A CUDA graph and transfers of `setting` are left out: a graph hides its kernels.

    Raises:
      ValueError: the runtime is none of NAMES. BuildError: it cannot be built.
    """
    if runtime.name not in NAMES:
        raise ValueError(
            f"runtime {runtime.name!r} has no profiler here; those that have: {', '.join(NAMES)}"
        )
    setting = dataclasses.replace(setting, cuda_graph=False, transfers=False)
    pair, ops, how = _take(subject, setting, runtime, files or Files(), seconds)
    return Profile(
        model=subject.name,
        runtime=runtime.name,
        device=runtime.device,
        setting=setting.as_dict(),
        facts=dict(subject.facts),
        ops=tuple(ops),
        latency_ms=pair.latency_ms,
        profiled_ms=pair.profiled_ms,
        runs=len(pair.profiled),
        how=how,
        versions=runtime.versions(),
    )


def _take(
    subject: Subject, setting: Setting, runtime: Runtime, files: Files, seconds: float
) -> tuple[Pair, list[Op], str]:
    ready: Any = runtime.prepare(subject, setting, files)
    inner: Any = ready.ready if isinstance(ready, Kept) else ready  # of a runtime that keeps engines open
    try:
        if runtime.name == "onnxruntime":
            from export.lab.profile import onnxruntime

            return *onnxruntime.take(inner, subject, setting, seconds), onnxruntime.HOW
        if runtime.name == "xla":
            from export.lab.profile import xla

            traced = _traced(inner, subject, setting, runtime.device)
            return *xla.take(inner, traced, _roots(subject), seconds), xla.HOW
        from export.lab.profile import tensorrt

        return *tensorrt.take(inner, seconds), tensorrt.HOW
    finally:
        ready.close()


def _traced(ready: Any, subject: Subject, setting: Setting, device: str) -> Any:
    from export.lab.runtimes.xla import XlaReady

    return ready if device == "cpu" else XlaReady(subject, setting, device, kernel_by_kernel=True)


def _roots(subject: Subject) -> frozenset[str]:
    """Names of the modules at the top."""
    return frozenset(subject.weights()["params"])
