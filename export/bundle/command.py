"""What `to_trt --onnx BUNDLE` does, from the command line to the exit status, without JAX.

read and verify -> gate model.onnx -> build -> run or say why not -> report
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import sys
from collections.abc import Callable, Sequence

from export._optional import MissingExtra
from export.arguments import UsageError
from export.bundle import BundleError, triton
from export.bundle.flags import BundleRequest, parse
from export.bundle.read import Bundle, is_bundle, read_bundle
from export.bundle.result import Result
from export.bundle.trial import gate_onnx, gate_tf32, try_engine, why_no_tf32
from export.bundle.trtexec import command_lines
from export.engine_flags import choose, options
from export.files import ENGINE_PRODUCTS, OutputFolder
from export.interrupt import Interrupted, listening
from export.progress import Progress
from export.quantize.flags import check_targets
from export.runtimes import BuildError, BuildOptions, Built, Choice
from export.trial import Trial

STAGES = 5
#: The packages that hold a module, for whoever does not want the extras of hvjax, which bring JAX.
PIP_OF = {
    "tensorrt": "pip install tensorrt cuda-bindings (on a Jetson: apt install python3-libnvinfer)",
    "tensorrt_rtx_bindings": "pip install tensorrt-rtx-cu13-libs tensorrt-rtx-cu13-bindings",
    "onnxruntime": "pip install onnxruntime, or a TensorRT",
    "cuda": "pip install cuda-bindings",
}


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit status and never a traceback for a user's mistake."""
    prefix = "python -m export.to_trt: "
    if not faulthandler.is_enabled():  # a library that crashes on a malformed file shall say where
        # not on a stderr that is no file
        with contextlib.suppress(ValueError, AttributeError, RuntimeError, OSError):
            faulthandler.enable()
    try:
        with listening() as wish:
            return run(parse(argv), wish.check)
    except MissingExtra as error:
        print(f"{prefix}error: {_missing(error)}", file=sys.stderr)
        return 2
    except (UsageError, BundleError) as error:
        print(f"{prefix}error: {error}", file=sys.stderr)
        return 2
    except (BuildError, OSError) as error:  # OSError: a full disk, a name too long
        print(f"{prefix}failed: {error}", file=sys.stderr)
        return 1
    except Interrupted as interrupted:
        print(f"\n{prefix}interrupted; nothing was written", file=sys.stderr)
        return interrupted.exit_status


def run(request: BundleRequest, check: Callable[[], None]) -> int:
    """One build, stage by stage. `check` raises between stages if the user wants it to end."""
    progress = Progress(STAGES, check)
    with progress.stage("load", f"read and verify {request.bundle}"):
        bundle = read_bundle(request.bundle)
        batch = request.range(bundle.batch)
        check_targets(bundle.precision, request.targets)
    choice = choose(request, bundle.precision)
    with _folder(request, choice) as folder:
        with progress.stage("gate", f"gate model.onnx on {len(bundle.gate)} images"):
            compared = gate_onnx(bundle, batch)
            if compared is not None and request.tf32 and why_no_tf32(bundle) is None:
                compared += gate_tf32(bundle, batch)
        passed = all(line.passed for line in compared or ())
        with progress.stage("build", f"build with {choice.runtime.name}"):
            built, trouble = _build(choice, bundle, options(request, batch)) if passed else (None, None)
        with progress.stage("run", "run and measure"):
            trial = try_engine(request, choice, built, bundle, batch) if passed and not trouble else Trial()
        result = Result(request, bundle, batch, choice, compared, built, trouble, trial)
        _write(result, folder, progress.seconds)
        paths = folder.publish(accepted=result.accepted)
    print(result.lines(paths))
    return 0 if result.accepted else 1


def _folder(request: BundleRequest, choice: Choice) -> OutputFolder:
    path = request.folder(choice.runtime.name)
    if is_bundle(path):
        raise UsageError(f"--out {path} is a bundle: results would spoil it; choose another folder")
    try:
        return OutputFolder(path, overwrite=request.overwrite, products=ENGINE_PRODUCTS)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _build(choice: Choice, bundle: Bundle, options: BuildOptions) -> tuple[Built | None, str | None]:
    """A build that fails is a result to report, not an end without a report."""
    try:
        return choice.runtime.build(bundle.model, options), None
    except (BuildError, RuntimeError, ValueError) as error:  # bindings fail on names that are no UTF-8
        return None, str(error)


def _write(result: Result, folder: OutputFolder, seconds: dict[str, float]) -> None:
    built = result.built
    if built is not None and built.engine is not None:
        folder.write("model.engine", built.engine)
        if built.runtime == "tensorrt" and not built.stripped:  # Triton serves no others
            folder.write("config.pbtxt", _triton(result))
    if result.request.builder.flags() or result.request.tf32 or result.request.targets:
        folder.write("trtexec.txt", _command_lines(result))  # that of the bundle builds something else
    data = result.report(seconds)
    folder.write("report.json", json.dumps(data, indent=2, allow_nan=False) + "\n")
    try:
        from export.report_html import page

        folder.write("report.html", page(data))
    except Exception as error:  # a page for the eye: nothing that goes wrong with it may cost the engine
        print(f"notice: no report.html: {type(error).__name__}: {error}", file=sys.stderr)


def _command_lines(result: Result) -> str:
    gate = result.bundle.gate
    wanted = options(result.request, result.batch)
    return command_lines(gate.input, gate.inputs.shape[1:], result.batch, wanted)


def _triton(result: Result) -> str:
    gate = result.bundle.gate
    return triton.config(
        result.bundle.name,
        "tensorrt_plan",
        result.batch,
        (gate.input, gate.inputs.shape[1:], gate.inputs.dtype),
        *gate.outputs(result.bundle.ends),
    )


def _missing(error: MissingExtra) -> str:
    """The pip line without hvjax's extras, which would bring JAX."""
    module = getattr(error.__cause__, "name", None) or ""
    line = PIP_OF.get(module) or PIP_OF.get(module.split(".")[0])
    return f"this needs {module}, which is not installed: {line}" if line else str(error)
