"""The flags of the rare builder options, the same on both roads to an engine."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from export.arguments import UsageError, checked, choice
from export.runtimes import timing_cache
from export.runtimes.builder import HARDWARE_LEVELS, OPTIMIZATION_LEVELS, BuilderOptions


def add(add: Callable[..., Any]) -> None:
    """Adds them to a parser whose `add_argument` is `add`."""
    add("--refit", action="store_true", help="build an engine whose weights can be replaced later")
    add("--strip-weights", action="store_true", help="leave the weights out of the engine; see the docs")
    add("--version-compatible", action="store_true", help="let later versions of TensorRT load the engine")
    add(
        "--hardware-compatible",
        nargs="?",
        const=next(iter(HARDWARE_LEVELS)),
        metavar="LEVEL",
        help=f"let other GPUs run the engine: {' or '.join(HARDWARE_LEVELS)}; the first if not said",
    )
    add("--timing-cache", metavar="FILE[@sha256:HEX]", help="kernel times of earlier builds; pinned by hash")
    add(
        "--optimization-level", metavar="N", help="0 (fast build) to 5 (long search); TensorRT's default is 3"
    )


def read(found: argparse.Namespace) -> BuilderOptions:
    """What was asked for. Raises `UsageError` for what is not accepted or does not go together."""
    level = found.hardware_compatible
    options = BuilderOptions(
        refit=found.refit,
        strip_weights=found.strip_weights,
        version_compatible=found.version_compatible,
        hardware_compatible=choice("--hardware-compatible", level.lower(), tuple(HARDWARE_LEVELS))
        if level
        else None,
        timing_cache=checked(timing_cache.parse, found.timing_cache, "--timing-cache")
        if found.timing_cache is not None
        else None,
        optimization_level=checked(_level, found.optimization_level, "--optimization-level")
        if found.optimization_level is not None
        else None,
    )
    if options.version_compatible and (options.refit or options.strip_weights):
        raise UsageError(
            f"--version-compatible does not go with {'--refit' if options.refit else '--strip-weights'}: "
            "the lean runtime that such an engine brings cannot refit it"
        )
    if options.timing_cache is not None and options.optimization_level == 0:
        raise UsageError("--timing-cache does not go with --optimization-level 0, which measures nothing")
    return options


def _level(text: str) -> int:
    if not text.isdecimal() or int(text) not in OPTIMIZATION_LEVELS:
        raise ValueError(f"{text!r} is not a number from 0 to {OPTIMIZATION_LEVELS[-1]}")
    return int(text)
