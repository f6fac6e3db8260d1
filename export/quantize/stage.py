"""int8 as a part of an export: quantise after the conversion, judge after the engine was tried."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from export.agreement import Agreement
from export.flags import Request, UsageError
from export.load import Source
from export.parity import Comparison
from export.quantize.speed import ratio
from export.quantize.verdict import Int8Verdict, accuracy, verdict
from export.quantize.work import Quantised, calibration_images, quantise_model
from export.runtimes import BuildError, BuildOptions, Built, Choice
from export.runtimes.kernels import Kernel
from export.runtimes.onnxruntime import OnnxSession
from export.trial import Trial

Tell = Callable[[int, int, str], None]


def quantise(
    request: Request, source: Source, base: bytes, size: tuple[int, int], gated: int, tell: Tell
) -> Quantised:
    """The float file `base` -> int8, with ranges from the pictures asked for.

    Args:
      gated: images that the gate uses: not to be taken from the same file.
      tell: shows (batches done, all, what).

    Raises:
      UsageError: pictures that cannot be read, layers to keep that are not there; one line.
    """
    assert request.int8 is not None, "only for --precision int8"
    try:
        images, notice = calibration_images(request.int8, source, size, gated, request.seed)
        if notice:
            print(f"notice: {notice}", file=sys.stderr)
        for line in images.skipped:
            print(f"notice: skipped {line}", file=sys.stderr)
        pixels = images.normalised(source.mean, source.std)
        if request.input_layout == "nchw":
            pixels = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
        return quantise_model(
            base,
            request.int8,
            pixels,
            images.source,
            request.batch.typical,
            lambda done, total: tell(done, total, "batches of pictures, for the ranges of int8"),
        )
    except ValueError as error:
        raise UsageError(str(error)) from error


def judge(
    request: Request,
    done: Quantised,
    choice: Choice,
    built: Built | None,
    trial: Trial,
    agreement: Agreement | None,
    images: np.ndarray,
    float32: Callable[[], bytes],
) -> tuple[Trial, Int8Verdict]:
    """Everything that can be known of `done` here: what cannot be measured stays None. The trial is returned
    with its comparisons forgiven, if the user forces int8.

    Args:
      built, trial: of the int8 file; None if the gate stopped it.
      images: of the gate, in the layout of the file's input.
      float32: makes the float32 file to compare the speed on the CPU with.
    """
    assert request.int8 is not None, "only for --precision int8"
    found = dataclasses.replace(
        verdict(done, request.int8.calibrator, request.int8.rest),
        **accuracy(agreement),
        deployed_on_cpu=request.command == "to_trt" and request.runtime == "onnxruntime",
    )
    if request.force_precision:
        trial = dataclasses.replace(trial, comparisons=forgiven(trial.comparisons))
    if built is None:
        return trial, found
    part = images[: request.batch.typical]
    if built.engine is None:
        return trial, dataclasses.replace(found, cpu_ratio=_cpu_ratio(done.model, float32(), part))
    return trial, dataclasses.replace(found, **_engines(request, done, choice, built, trial, part))


def forgiven(comparisons: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """With --force-precision: lines of the file and the engine pass for any finite error, and say so."""
    return tuple(
        dataclasses.replace(line, forced=True) if line.candidate.startswith("model.") else line
        for line in comparisons
    )


def in_int8(kernels: Sequence[Kernel]) -> int:
    """Kernels that read or write int8."""
    return sum("Int8" in kernel.writes or any(t.dtype == "Int8" for t in kernel.inputs) for kernel in kernels)


def _engines(
    request: Request, done: Quantised, choice: Choice, built: Built, trial: Trial, images: np.ndarray
) -> dict[str, Any]:
    """Kernels of the int8 engine and of one of the float file; their speeds if the first one ran."""
    kernels = trial.kernels or built.kernels
    found: dict[str, Any] = {}
    if kernels is not None:
        found |= {"kernels_int8": len(kernels), "int8_kernels": in_int8(kernels)}
    try:
        options = BuildOptions(request.batch, tf32=request.tf32, targets=request.targets)
        other = choice.runtime.build(done.base, options)
        if other.kernels is not None:
            found["kernels_float"] = len(other.kernels)
        if trial.ran:
            found["gpu_ratio"] = _gpu_ratio(choice, built, other, images, request)
    except (BuildError, RuntimeError) as error:  # the float engine is only there to compare with
        print(f"notice: no {_rest(request)} engine to compare int8 with: {error}", file=sys.stderr)
    return found


def _gpu_ratio(choice: Choice, built: Built, other: Built, images: np.ndarray, request: Request) -> float:
    """Median time of the int8 engine over that of the float engine; each measures itself, in turns."""
    turns = (built, other, built, other)
    sessions = [choice.runtime.open(one, cuda_graph=request.cuda_graph) for one in turns]
    try:
        times = [session.latency(images).median_ms for session in sessions]
    finally:
        for session in sessions:
            session.close()
    return (times[0] + times[2]) / (times[1] + times[3])


def _cpu_ratio(model: bytes, float32: bytes, images: np.ndarray) -> float:
    first, second = OnnxSession(model), OnnxSession(float32)
    try:
        return ratio(lambda: first.run(images), lambda: second.run(images))
    finally:
        first.close()
        second.close()


def _rest(request: Request) -> str:
    return request.int8.rest if request.int8 else "float"
