"""The flags about the engine: the same on the road from a checkpoint and on that from a bundle."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, Protocol

from export import builder_flags, runtimes
from export.arguments import UsageError, choice
from export.batch import BatchRange
from export.runtimes import BuildError, BuildOptions, Choice
from export.runtimes.builder import BuilderOptions
from export.runtimes.providers import PROVIDERS


class EngineRequest(Protocol):
    """What both roads ask of an engine."""

    @property
    def runtime(self) -> str: ...
    @property
    def require_engine_run(self) -> bool: ...
    @property
    def tf32(self) -> bool: ...
    @property
    def cuda_graph(self) -> bool: ...
    @property
    def targets(self) -> tuple[str, ...]: ...
    @property
    def builder(self) -> BuilderOptions: ...
    @property
    def provider(self) -> str: ...


def add(add: Callable[..., Any]) -> None:
    """Adds them to a parser whose `add_argument` is `add`."""
    add("--runtime", default="auto", help="auto (default), tensorrt, tensorrt_rtx or onnxruntime")
    add("--provider", default="cpu", help="of onnxruntime: cpu (default), cuda or tensorrt")
    add("--require-engine-run", action="store_true", help="fail if the engine cannot be run here")
    add("--tf32", action="store_true", help="let float32 products round to TF32 on the GPU")
    add("--cuda-graph", action="store_true", help="measure the engine's latency with a CUDA graph")
    add("--targets", metavar="SM89,...", help="GPU generations (tensorrt_rtx; default: its portable set)")
    builder_flags.add(add)


def runtime(found: argparse.Namespace) -> str:
    return choice("--runtime", found.runtime, ("auto", *runtimes.NAMES))


def provider(found: argparse.Namespace) -> str:
    return choice("--provider", found.provider, tuple(PROVIDERS))


def targets(found: argparse.Namespace) -> tuple[str, ...]:
    return tuple(found.targets.split(",")) if found.targets else ()


def options(request: EngineRequest, batch: BatchRange) -> BuildOptions:
    """What the builder is told."""
    return BuildOptions(batch, tf32=request.tf32, targets=request.targets, builder=request.builder)


def choose(request: EngineRequest, precision: str) -> Choice:
    """The runtime that was asked for.

    Raises:
      UsageError: it, its provider or a builder option is not to be had here.
    """
    if request.provider == "tensorrt" and precision != "fp32":
        raise UsageError(
            f"--provider tensorrt takes --precision fp32 only, not {precision}: ONNX Runtime may take the "
            "types of the file for hints; --runtime tensorrt is bound by them"
        )
    try:
        if request.provider == "cpu":
            found = runtimes.choose(request.runtime)
        else:
            found = runtimes.choose(
                request.runtime, create=lambda name: runtimes.make(name, request.provider)
            )
    except (BuildError, ValueError) as error:
        flag = (
            f"--runtime {request.runtime}" if request.provider == "cpu" else f"--provider {request.provider}"
        )
        raise UsageError(f"{flag}: {error}") from error
    reason = found.runtime.refuses(request.builder) if request.builder.flags() else None
    if reason is not None:
        raise UsageError(reason)
    return found


def check(request: EngineRequest) -> None:
    """Raises `UsageError` for a flag about an engine where none is built, and for targets too many."""
    if len(request.targets) > 1 and (request.builder.refit or request.builder.strip_weights):
        flag = "--refit" if request.builder.refit else "--strip-weights"
        raise UsageError(f"{flag} takes one of --targets at most, and {len(request.targets)} were given")
    if request.runtime != "onnxruntime":
        if request.provider != "cpu":
            raise UsageError(
                f"--provider {request.provider} is about --runtime onnxruntime: name that as well"
            )
        return
    if request.builder.flags():
        raise UsageError(
            f"{request.builder.flags()[0]} is about an engine, and --runtime onnxruntime builds none"
        )
    on_gpu = request.provider != "cpu"
    for name in ("cuda_graph", "targets", *(() if on_gpu else ("require_engine_run", "tf32"))):
        if getattr(request, name):
            flag = "--" + name.replace("_", "-")
            raise UsageError(f"{flag} is about an engine, and --runtime onnxruntime builds none")
