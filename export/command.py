"""What `to_onnx` and `to_trt` do, from the command line to the exit status.

    flags -> load -> reference -> convert -> gate -> build -> run or say why not -> report

Everything is written to a staging folder and renamed at the end: an interrupted export leaves nothing.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import hvjax
from export import detections, economy, gate_images, graph, parity, reference
from export._optional import MissingExtra
from export.agreement import Agreement, validation_agreement
from export.at_size import at_size
from export.ends.feed import feed
from export.ends.finish import finish
from export.ends.flags import check as check_ends
from export.ends.tail import attach
from export.engine_flags import choose, options
from export.family import export_family
from export.files import OutputFolder
from export.flags import Request, UsageError, parse
from export.gate import Gate, gate_onnx
from export.gate_images import GateImages
from export.interrupt import Interrupted, listening
from export.kind import Kind, check_kind, kind_of
from export.load import Source, load_source
from export.outcome import Outcome
from export.pack import write_bundle
from export.parity import BrokenReference
from export.precision import CANNOT_RUN
from export.precision.islands import NoSuchModule
from export.precision.report import WORDS
from export.precision.settle import Settled, Task, initializers, settle
from export.precision.tf32_gate import gate_tf32, tf32_copy
from export.precision.worth import weigh, weigh_tf32
from export.progress import Progress
from export.quantize import stage as eight_bits
from export.random_weights import random_variables
from export.report import write_report
from export.runtimes import BuildError, Built, Choice
from export.runtimes.onnxruntime import OnnxRuntime
from export.trial import Trial, try_engine

STAGES = 7


class ExportFailed(RuntimeError):
    """The model could not be turned into what was asked for: exit status 1."""


def main(command: str, argv: Sequence[str]) -> int:
    """Runs the command; returns its exit status and never a traceback for a user's mistake."""
    prefix = f"python -m export.{command}: "
    try:
        with listening() as wish:
            request = parse(command, argv)
            if not request.family:
                return run(request, wish.check)
            source = _load(request)
            return export_family(request, source, lambda one: run(one, wish.check, source), prefix)
    except (UsageError, MissingExtra) as error:
        print(f"{prefix}error: {error}", file=sys.stderr)
        return 2
    except (ExportFailed, BuildError, BrokenReference, OSError) as error:  # OSError: a full disk
        print(f"{prefix}failed: {error}", file=sys.stderr)
        return 1
    except Interrupted as interrupted:
        print(f"\n{prefix}interrupted; nothing was written", file=sys.stderr)
        return interrupted.exit_status


def run(request: Request, check: Callable[[], None], source: Source | None = None) -> int:
    """One export, stage by stage. `check` raises between stages if the user wants it to end; `source` is what
    `request` names, if it is loaded already."""
    choice = _choose(request)
    progress = Progress(STAGES, check)
    with progress.stage("load", f"load {request.ckpt}"):
        source = source or _load(request)
        size = request.image_size or source.image_size
        source = at_size(source, size, adapt_positions=request.adapt_positions)
        check_ends(request.ends, source.model.config.num_classes, source.name)
        check_kind(request, kind_of(source.model, backbone=request.backbone), source.name)
    with _folder(request, source, size) as folder:
        with progress.stage("reference", "weights, images, JAX's answers"):
            subject = prepare(request, source, size)

        @functools.cache
        def float32() -> bytes:
            return _convert(dataclasses.replace(request, precision="fp32"), source, subject, size)

        with progress.stage("convert", f"convert to ONNX ({request.via}, {request.precision})"):
            quantiser = None
            if request.quantise is None:
                model = _convert(request, source, subject, size)
            else:
                base = dataclasses.replace(request, precision=request.quantise.rest)
                gated = 0 if request.images else len(subject.images)
                model = _convert(base, source, subject, size)
                quantiser = eight_bits.prepare(request, source, model, size, gated, progress.bar)
        with progress.stage("gate", f"gate on {len(subject.images)} images"):

            @functools.lru_cache(maxsize=1)
            def agree(runnable: bytes) -> Agreement | None:
                return _agreement(request, source, subject, runnable, size)

            quantised = precision = None
            if quantiser is not None:
                quantised = eight_bits.settle(
                    request, quantiser, lambda file: _gate(request, subject, file), agree, progress.bar
                )
                model, gate, agreement = quantised.done.model, quantised.gate, quantised.agreement
            else:
                settled = _settle(request, source, subject, model, float32, agree, progress)
                model, gate, precision = settled.model, settled.gate, settled.precision
                agreement = agree(settled.runnable) if gate.passed else None
            model, gate = _finish(request, subject, model, gate)
        with progress.stage("build", f"build with {choice.runtime.name}"):
            built, trouble = _build(request, choice, model) if gate.passed else (None, None)
        counted = economy.count(model)
        with progress.stage("run", "run and measure"):
            trial = Trial()
            if gate.passed:
                trial = try_engine(request, choice, built, subject, model, half_share=counted.half_share)
            verdict = worth = None
            part = subject.inputs[: request.batch.typical]
            if request.precision in WORDS and request.command == "to_trt" and built is not None:
                worth = weigh(request, model, attach(float32(), request.ends), choice, built, trial, part)
            elif request.precision == "fp32" and request.tf32 and built is not None:
                worth = weigh_tf32(request, model, choice, built, trial, part)
            if quantised is not None:
                trial, verdict = eight_bits.judge(
                    request,
                    quantised,
                    choice,
                    built,
                    trial,
                    subject.inputs,
                    float32,
                )
        outcome = Outcome(
            request=request,
            source=source,
            size=size,
            images=subject.images,
            model=model,
            choice=choice,
            economy=counted,
            gate=gate,
            built=built,
            build_error=trouble,
            trial=trial,
            agreement=agreement,
            precision=precision,
            quantised=verdict,
            worth=worth,
        )
        folder.write("model.onnx", model)
        if built is not None and built.engine is not None:
            folder.write("model.engine", built.engine)
        with progress.stage("report", "write the report"):
            report = write_report(outcome, folder, progress.seconds)
            if outcome.accepted:  # nobody shall carry a rejected model elsewhere
                missing = write_bundle(
                    folder, outcome, report, inputs=subject.inputs, answers=subject.reference
                )
                if missing is not None:
                    print(f"notice: {missing}", file=sys.stderr)
        paths = folder.publish(accepted=outcome.accepted)
    print(outcome.summary(paths))
    return 0 if outcome.accepted else 1


@dataclass(frozen=True)
class Subject:
    """The model in deploy form with its weights, the gate's images and what JAX answers on them."""

    deploy: Any
    variables: Any
    kind: Kind
    images: GateImages
    inputs: np.ndarray
    reference: reference.Reference

    @property
    def output(self) -> str:
        return self.kind.output


def prepare(request: Request, source: Source, size: tuple[int, int]) -> Subject:
    """Draws weights where there are none, fuses, and computes the reference."""
    kind = kind_of(source.model, backbone=request.backbone)
    images = _images(request, source, size, kind)
    fed = feed(images.pixels, request.ends, request.input_layout, size, source)
    variables = source.variables
    if variables is None:
        with reference.on_cpu():
            variables = random_variables(source.model, fed.model, request.seed)
    deploy, fused = hvjax.reparameterize(source.model, variables)
    training = None if source.model.deploy else (source.model, variables)
    staged = request.batch.minimum if request.batch.dynamic else request.batch.typical
    layout = request.input_layout
    answers = reference.compute(kind, training, (deploy, fused), fed.model, staged, layout)
    return Subject(deploy, fused, kind, images, fed.file, answers)


def _choose(request: Request) -> Choice:
    choice = choose(request, request.precision)
    if choice.notice:
        print(f"notice: {choice.notice}", file=sys.stderr)
    return choice


def _load(request: Request) -> Source:
    try:
        source = load_source(request.ckpt, which=request.which)
    except (ValueError, OSError) as error:  # OSError: no permission, a name too long
        raise UsageError(str(error)) from error
    if source.random and not request.random_weights:
        raise UsageError(
            f"--ckpt {request.ckpt} is a model without weights; "
            "add --random-weights to export it with weights drawn at random"
        )
    if request.random_weights and not source.random:
        raise UsageError(f"--random-weights is for a bare model name, and {request.ckpt} has weights")
    return source


def _folder(request: Request, source: Source, size: tuple[int, int]) -> OutputFolder:
    try:
        return OutputFolder(request.folder(source.name, size), overwrite=request.overwrite)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _images(request: Request, source: Source, size: tuple[int, int], kind: Kind) -> GateImages:
    wanted = max(request.gate_images or kind.gate_images, request.batch.maximum)
    channels = source.model.config.in_channels
    size, crop_pct = request.ends.picture(size, source.crop_pct)
    try:
        if request.images is not None:
            found = gate_images.from_folder(
                request.images, size, channels, wanted, crop_pct, source.interpolation
            )
        elif source.gate_file is not None:
            found = gate_images.from_checkpoint(source.gate_file, size, channels, wanted)
        else:
            found = gate_images.photographs(size, channels, wanted)
    except (ValueError, OSError) as error:
        raise UsageError(str(error)) from error
    for line in found.skipped:
        print(f"notice: skipped {line}", file=sys.stderr)
    return found.at_least(request.batch.maximum)


def _convert(request: Request, source: Source, subject: Subject, size: tuple[int, int]) -> bytes:
    try:
        return graph.to_onnx_bytes(request, source, subject.deploy, subject.variables, size)
    except MissingExtra:
        raise
    except (ValueError, NotImplementedError, RuntimeError) as error:
        raise ExportFailed(f"{source.name} could not be converted to ONNX: {error}") from error


def _settle(
    request: Request,
    source: Source,
    subject: Subject,
    model: bytes,
    float32: Callable[[], bytes],
    agree: Callable[[bytes], Agreement | None],
    progress: Progress,
) -> Settled:
    """Gates the file; in half precision, finds the modules that must stay float32 if it fails."""
    if request.precision not in WORDS:
        gate = _gate(request, subject, model)
        if not (request.tf32 and request.precision == "fp32" and gate.passed):
            return Settled(model, model, gate, None)
        copy, named = tf32_copy(model), subject.reference.named(subject.output)
        lines = gate_tf32(
            copy,
            subject.inputs,
            named,
            batch=request.batch,
            limit=parity.onnx_limit(
                "tf32", trained=not source.random, answer=subject.reference.outputs[reference.DEPLOY_FORM]
            ),
            forced=request.force_precision,
            detector=subject.reference if subject.kind.name == "detections" else None,
            trained=not source.random,
        )
        caution = gate.caution
        if caution is None and subject.kind.name == "detections":
            allowed = detections.limits("fp32", tf32=True, trained=not source.random)
            caution = detections.caution(named[reference.DEPLOY_FORM], allowed)
        lines = [*gate.comparisons, *lines]
        return Settled(
            model, copy, dataclasses.replace(gate, comparisons=tuple(lines), caution=caution), None
        )
    task = Task(
        precision=request.precision,
        trained=not source.random,
        batch=request.batch,
        images=subject.inputs,
        reference=subject.reference,
        output=subject.output,
    )

    def agrees(runnable: bytes) -> bool:
        found = agree(runnable)
        return found is None or request.force_precision or found.enough

    try:
        return settle(
            model,
            task,
            keep=request.keep_fp32,
            may_search=request.search,
            float32_weights=lambda: initializers(float32()),
            agrees=agrees,
            tell=progress.bar,
        )
    except NoSuchModule as error:
        raise UsageError(f"--keep-fp32: {error}") from error


def _gate(request: Request, subject: Subject, model: bytes) -> Gate:
    runtime = OnnxRuntime()
    session = runtime.open(Built(runtime.name, model, None, 0.0))
    try:
        return gate_onnx(
            session,
            model,
            subject.inputs,
            subject.reference,
            output=subject.output,
            precision=request.precision,
            batch=request.batch,
        )
    finally:
        session.close()


def _finish(request: Request, subject: Subject, model: bytes, gate: Gate) -> tuple[bytes, Gate]:
    """The file with what is asked for behind its logits, and the gate of the whole."""
    return finish(
        model,
        gate,
        request.ends,
        subject.inputs,
        subject.reference.outputs,
        output=subject.output,
        precision=request.precision,
        batch=request.batch,
    )


def _agreement(
    request: Request, source: Source, subject: Subject, model: bytes, size: tuple[int, int]
) -> Agreement | None:
    """Top-1 classes on all validation images of a training run; None where there are none."""
    if source.gate_file is None or subject.kind.outputs != ("logits",) or subject.kind.has_maps:
        return None
    try:
        return validation_agreement(
            source.gate_file,
            model,
            (subject.deploy, subject.variables),
            size=size,
            rule=source,
            ends=request.ends,
            input_layout=request.input_layout,
            batch=request.batch.typical,
        )
    except (ValueError, BuildError) as error:  # the gate has passed already: this is a figure, no verdict
        print(f"notice: no top-1 agreement on the validation images: {error}", file=sys.stderr)
        return None


def _build(request: Request, choice: Choice, model: bytes) -> tuple[Built | None, str | None]:
    """A build that fails is a result to report, not an end without a report."""
    if not choice.runtime.builds_engine and request.precision in CANNOT_RUN:
        return Built(choice.runtime.name, model, None, 0.0), None
    try:
        return choice.runtime.build(model, options(request, request.batch)), None
    except BuildError as error:
        return None, str(error)
