"""int8 and fp8 as a part of an export: ranges after the conversion, the gate with its search, the verdict."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from export.agreement import Agreement
from export.ends.feed import feed
from export.ends.tail import attach
from export.flags import Request, UsageError
from export.gate import Gate
from export.load import Source
from export.parity import Comparison
from export.quantize.grids import GRIDS
from export.quantize.rest import check_rest
from export.quantize.settle import Settled
from export.quantize.settle import settle as settle_layers
from export.quantize.verdict import QuantiseVerdict, accuracy, verdict
from export.quantize.work import Quantised, Quantiser, calibration_images
from export.runtimes import BuildError, Built, Choice
from export.runtimes.kernels import Kernel
from export.runtimes.onnxruntime import OnnxSession
from export.speed import ratio
from export.trial import Trial
from export.versus import versus

Tell = Callable[[int, int, str], None]


def prepare(
    request: Request, source: Source, base: bytes, size: tuple[int, int], gated: int, tell: Tell
) -> Quantiser:
    """The float file `base` with ranges from the pictures asked for, ready to be quantised.

    Args:
      gated: images that the gate uses: not to be taken from the same file.
      tell: shows (batches done, all, what).

    Raises:
      UsageError: pictures that cannot be read, layers to keep that are not there, a rest that float16 does
        not hold; one line.
    """
    assert request.quantise is not None, "only for int8 and fp8"
    try:
        picture, crop_pct = request.ends.picture(size, source.crop_pct)
        prepared = dataclasses.replace(source, crop_pct=crop_pct)
        images, notice = calibration_images(request.quantise, prepared, picture, gated, request.seed)
        if notice:
            print(f"notice: {notice}", file=sys.stderr)
        for line in images.skipped:
            print(f"notice: skipped {line}", file=sys.stderr)
        pixels = feed(images.pixels, request.ends, request.input_layout, size, source).file
        if request.quantise.rest == "fp16":
            check_rest(base, pixels, request.batch.typical)
        return Quantiser(
            base,
            request.quantise,
            pixels,
            images.source,
            request.batch.typical,
            lambda done, total: tell(
                done, total, f"batches of pictures, for the ranges of {request.precision}"
            ),
        )
    except ValueError as error:
        raise UsageError(str(error)) from error


def settle(
    request: Request,
    quantiser: Quantiser,
    gate: Callable[[bytes], Gate],
    agree: Callable[[bytes], Agreement | None],
    tell: Tell,
) -> Settled:
    """The file that ships, gated; with layers in float if its accuracy needs them and a search is allowed.

    Args:
      gate, agree: of an ONNX file: against JAX, and on the validation images (asked if the gate passed).

    Raises:
      UsageError: a range that the type of the rest has no scale for; one line.
    """

    def gated(model: bytes) -> Gate:
        found = gate(model)
        if request.force_precision:
            found = dataclasses.replace(found, comparisons=forgiven(found.comparisons))
        return found

    may_search = request.search and not request.force_precision
    try:
        return settle_layers(quantiser, gated, agree, may_search=may_search, tell=tell)
    except ValueError as error:
        raise UsageError(str(error)) from error


def judge(
    request: Request,
    settled: Settled,
    choice: Choice,
    built: Built | None,
    trial: Trial,
    images: np.ndarray,
    float32: Callable[[], bytes],
) -> tuple[Trial, QuantiseVerdict]:
    """Everything that can be known of the file here: what cannot be measured stays None. The trial is
    returned with its comparisons forgiven, if the user forces the precision.

    Args:
      built, trial: of the quantised file; None if the gate stopped it.
      images: of the gate, in the layout of the file's input.
      float32: makes the float32 file to compare the speed on the CPU with.
    """
    assert request.quantise is not None, "only for int8 and fp8"
    done = settled.done
    found = dataclasses.replace(
        verdict(done, request.quantise, settled.searched),
        **accuracy(settled.agreement),
        deployed_on_cpu=request.command == "to_trt"
        and request.runtime == "onnxruntime"
        and request.provider == "cpu",
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


def narrow_kernels(kernels: Sequence[Kernel], precision: str) -> int:
    """Kernels that read or write the 8-bit type of `precision`."""
    word = GRIDS[precision].builder
    return sum(word in kernel.writes or any(t.dtype == word for t in kernel.inputs) for kernel in kernels)


def _engines(
    request: Request, done: Quantised, choice: Choice, built: Built, trial: Trial, images: np.ndarray
) -> dict[str, Any]:
    """Kernels of the engine and of one of the float file; their speeds if the first one ran."""
    kernels = trial.kernels or built.kernels
    found: dict[str, Any] = {}
    if kernels is not None:
        found |= {
            "kernels": len(kernels),
            "narrow_kernels": narrow_kernels(kernels, request.precision),
        }
    try:
        other = versus(request, choice, built, trial.ran, attach(done.base, request.ends), images)
        if other.kernels is not None:
            found["kernels_float"] = len(other.kernels)
        found["gpu_ratio"] = other.gpu_ratio
    except (BuildError, RuntimeError) as error:  # the float engine is only there to compare with
        rest = request.quantise.rest if request.quantise else "float"
        print(f"notice: no {rest} engine to compare {request.precision} with: {error}", file=sys.stderr)
    return found


def _cpu_ratio(model: bytes, float32: bytes, images: np.ndarray) -> float:
    first, second = OnnxSession(model), OnnxSession(float32)
    try:
        return ratio(lambda: first.run(images), lambda: second.run(images))
    finally:
        first.close()
        second.close()
