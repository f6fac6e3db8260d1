"""Whether half precision is worth it: its size and kernels beside float32, its speed where one can tell."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from export.report_parts import card, in_bytes, table
from export.runtimes import BuildError
from export.speed import SLOWER

if TYPE_CHECKING:  # a bundle's report is drawn without JAX
    import numpy as np

    from export.flags import Request
    from export.runtimes import Built, Choice
    from export.trial import Trial


@dataclass(frozen=True)
class Worth:
    """Half precision beside float32, of the same model.

    file, engine: bytes as (half, float32), of model.onnx and of the engine; kernels: likewise. None where
    there is no engine, or its builder does not tell.
    cpu_ratio: time of the half-precision file over that of the float32 file in ONNX Runtime, if that is what
    the model is for; gpu_ratio: of the engines, where there is a GPU.
    """

    precision: str
    file: tuple[int, int]
    engine: tuple[int, int] | None = None
    kernels: tuple[int, int] | None = None
    cpu_ratio: float | None = None
    gpu_ratio: float | None = None

    def reasons(self) -> list[str]:
        """Why half precision is refused; empty if it is not."""
        found = []
        if self.gpu_ratio is not None and self.gpu_ratio > SLOWER:
            found.append(
                f"the {self.precision} engine takes {self.gpu_ratio:.2f} times as long as the fp32 engine"
            )
        if self.cpu_ratio is not None and self.cpu_ratio > SLOWER:
            found.append(
                f"{self.precision} takes {self.cpu_ratio:.2f} times as long as fp32 in ONNX Runtime on this "
                "CPU, which computes it in float32 between casts"
            )
        return found

    def line(self) -> str:
        """`model.onnx 64.0 MB for 127.0 MB in fp32; engine 66.1 MB for 129.9 MB; 132 kernels for 140`"""
        parts = [f"model.onnx {_for(self.file)} in fp32"]
        if self.engine is not None:
            parts.append(f"engine {_for(self.engine)}")
        if self.kernels is not None:
            parts.append(f"{self.kernels[0]} kernels for {self.kernels[1]}")
        if self.cpu_ratio is not None:
            parts.append(f"{self.cpu_ratio:.2f} times the time of fp32 on this CPU")
        if self.gpu_ratio is not None:
            parts.append(f"{self.gpu_ratio:.2f} times the time of fp32 on this GPU")
        return "; ".join(parts)

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "reasons": self.reasons()}


def weigh(
    request: Request,
    model: bytes,
    float32: bytes,
    choice: Choice,
    built: Built,
    trial: Trial,
    images: np.ndarray,
) -> Worth:
    """Everything that can be known here of `model`, which passed its gate, beside the `float32` file.

    Args:
      built, trial: of `model`.
      images: one batch, in the layout of the file's input.
    """
    found = Worth(request.precision, (len(model), len(float32)))
    if built.engine is None:
        return _on_cpu(found, request, model, float32, images)
    from export.versus import versus

    try:
        other = versus(request, choice, built, trial.ran, float32, images)
    except (BuildError, RuntimeError) as error:  # it is only there to compare with
        print(f"notice: no fp32 engine to compare {request.precision} with: {error}", file=sys.stderr)
        return found
    kernels = trial.kernels or built.kernels
    counts = (len(kernels), len(other.kernels)) if kernels and other.kernels else None
    return Worth(
        request.precision,
        found.file,
        engine=(len(built.engine), other.bytes),
        kernels=counts,
        gpu_ratio=other.gpu_ratio,
    )


def weigh_tf32(
    request: Request, model: bytes, choice: Choice, built: Built, trial: Trial, images: np.ndarray
) -> Worth:
    """The same for an engine with TF32, beside one of the same file without."""
    plain = replace(request, tf32=False)
    return replace(weigh(plain, model, model, choice, built, trial, images), precision="tf32")


def _on_cpu(found: Worth, request: Request, model: bytes, float32: bytes, images: np.ndarray) -> Worth:
    from export.precision import CANNOT_RUN
    from export.runtimes.onnxruntime import OnnxSession
    from export.speed import ratio

    if request.runtime != "onnxruntime" or request.provider != "cpu" or request.precision in CANNOT_RUN:
        return found
    first, second = OnnxSession(model), OnnxSession(float32)
    try:
        measured = ratio(lambda: first.run(images), lambda: second.run(images))
    finally:
        first.close()
        second.close()
    return Worth(found.precision, found.file, cpu_ratio=measured)


def _for(sizes: tuple[int, int]) -> str:
    return f"{in_bytes(sizes[0])} for {in_bytes(sizes[1])}"


def worth_card(data: Mapping[str, Any]) -> str:
    """The card of report.html; empty where nothing was compared."""
    found = data.get("worth")
    if not found:
        return ""
    rows = [("model.onnx", *map(in_bytes, found["file"]))]
    if found["engine"] is not None:
        rows.append(("engine", *map(in_bytes, found["engine"])))
    if found["kernels"] is not None:
        rows.append(("kernels", *map(str, found["kernels"])))
    for key, where in (
        ("cpu_ratio", "in ONNX Runtime on the CPU"),
        ("gpu_ratio", "of the engine on the GPU"),
    ):
        if found[key] is not None:
            rows.append((f"time of {where}, fp32 = 1", f"{found[key]:.2f}", "1"))
    what = "The same model, exported and built in both, for the same batches."
    return card(
        f"{found['precision']} beside fp32", what, table(("", found["precision"], "fp32"), rows, (1, 2))
    )
