"""The flags that every study has, and the runtimes that can run here."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from export._optional import MissingExtra
from export.arguments import OneLineParser, UsageError, checked, choice, positive
from export.lab.runtimes import DEFAULT, NAMES, Runtime, make
from export.lab.setting import PRECISIONS, Setting

DEFAULT_PRECISIONS = ("fp32", "fp16")
#: Of measuring for each contender; with fewer, too many verdicts are "cannot tell" on a machine with
#: neighbours.
SECONDS, SMALL_SECONDS = 5.0, 0.3


class NothingRuns(Exception):
    """No runtime, or not the one the user named, can run here: exit status 1."""


@dataclass(frozen=True)
class Options:
    """What the flags of every study say.

    Attributes:
      runtimes: those of --runtimes, or all that can run here; of `redraw`, those of the store.
      precisions: each runtime measures those it can.
      batch: None for the study's own.
      seconds: of measuring for each contender.
      small: networks of a few channels, to try the command itself (--small): its numbers say nothing.
      out: folder of the results.
      only: keys of the plans that are measured; empty for all.
      threads, cuda_graph, transfers: as in `Setting`.
      retry: measure again the heats in which something could not be measured.
      redraw: measure nothing, write the files again from what is in the store.
    """

    runtimes: tuple[Runtime, ...]
    precisions: tuple[str, ...]
    batch: int | None
    seconds: float
    small: bool
    out: Path
    only: tuple[str, ...] = ()
    threads: int | None = None
    cuda_graph: bool = False
    transfers: bool = False
    retry: bool = False
    redraw: bool = False

    def setting(self, runtime: Runtime, batch: int, precision: str) -> Setting:
        """Threads mean nothing on a GPU; graphs and transfers mean nothing on a CPU."""
        gpu = runtime.device == "gpu"
        return Setting(
            batch=batch,
            precision=precision,
            threads=None if gpu else self.threads,
            cuda_graph=gpu and self.cuda_graph,
            transfers=gpu and self.transfers,
        )

    def settings(self, runtime: Runtime, batch: int) -> list[Setting]:
        """One for each precision that the runtime has."""
        every = [self.setting(runtime, batch, precision) for precision in self.precisions]
        return [setting for setting in every if runtime.why_not(setting) is None]


def parse(
    program: str, about: str, argv: Sequence[str] | None, *, default_out: str, seconds: float = SECONDS
) -> Options:
    """argv -> options. Says in a line on stderr which runtimes and precisions are left out, and why.

    Raises:
      UsageError: a flag that is not known, or a value it does not take.
      NothingRuns: nothing can be measured here, or not what was asked for by name.
    """
    parser = OneLineParser(prog=program, description=about, allow_abbrev=False)
    add_flags(parser, default_out=default_out, seconds=seconds)
    given = parser.parse_known([*(sys.argv[1:] if argv is None else argv)])
    return read(given, default_out=default_out, seconds=seconds)


def add_flags(parser: argparse.ArgumentParser, *, default_out: str, seconds: float = SECONDS) -> None:
    """The flags that all commands of the lab share."""
    parser.add_argument("--runtimes", help=f"some of {','.join(NAMES)}; all that can run here by default")
    parser.add_argument("--precisions", help=f"some of {','.join(PRECISIONS)}; fp32,fp16 by default")
    parser.add_argument("--batch", help="images of one call; the study's own by default")
    parser.add_argument("--seconds", help=f"of measuring for each contender; {seconds:g} by default")
    parser.add_argument("--small", action="store_true", help="tiny networks, to try the command")
    parser.add_argument("--only", help="keys of the heats that are wanted, separated by commas")
    parser.add_argument("--out", help=f"folder of the results; {default_out} by default")
    parser.add_argument("--threads", help="CPU threads; all by default")
    parser.add_argument("--cuda-graph", action="store_true", help="replay one launch (GPU)")
    parser.add_argument("--transfers", action="store_true", help="count copies to and from the GPU")
    parser.add_argument("--torch-python", help="a Python with torch and timm, for --runtimes torch")
    parser.add_argument("--retry", action="store_true", help="try again what could not be measured before")
    parser.add_argument("--redraw", action="store_true", help="measure nothing; write the files again")


def read(given: argparse.Namespace, *, default_out: str, seconds: float = SECONDS) -> Options:
    """What the flags say; errors and lines on stderr as of `parse`."""
    precisions = _some("--precisions", given.precisions, PRECISIONS) or DEFAULT_PRECISIONS
    options = Options(
        runtimes=(),
        precisions=precisions,
        batch=None if given.batch is None else checked(positive, given.batch, "--batch"),
        seconds=(SMALL_SECONDS if given.small else seconds)
        if given.seconds is None
        else checked(_above_zero, given.seconds, "--seconds"),
        small=given.small,
        out=Path(given.out or default_out + ("-small" if given.small else "")).expanduser(),
        only=tuple(part.strip() for part in given.only.split(",") if part.strip()) if given.only else (),
        threads=None if given.threads is None else checked(positive, given.threads, "--threads"),
        cuda_graph=given.cuda_graph,
        transfers=given.transfers,
        retry=given.retry,
        redraw=given.redraw,
    )
    torch_python = None if given.torch_python is None else Path(given.torch_python).expanduser()
    if torch_python is not None and not torch_python.is_file():
        raise UsageError(f"--torch-python {given.torch_python}: no such file")
    named = _some("--runtimes", given.runtimes, NAMES)
    if options.redraw:
        return options
    return replace(options, runtimes=_runtimes(options, named, bool(given.precisions), torch_python))


def _some(flag: str, text: str | None, known: Sequence[str]) -> tuple[str, ...]:
    if text is None:
        return ()
    found = tuple(dict.fromkeys(choice(flag, part.strip(), known) for part in text.split(",")))
    return tuple(sorted(found, key=known.index))


def _above_zero(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise ValueError(f"{text!r} is not a number above 0")
    return number


def _runtimes(
    options: Options, named: Sequence[str], by_precision: bool, torch_python: Path | None
) -> tuple[Runtime, ...]:
    found: list[Runtime] = []
    reasons: list[str] = []
    for name in named or DEFAULT:
        try:
            runtime = make(name, torch_python=torch_python)
        except (MissingExtra, ValueError) as error:
            reasons.append(f"{name}: {error}")
            continue
        why = {
            precision: runtime.why_not(options.setting(runtime, options.batch or 1, precision))
            for precision in options.precisions
        }
        if all(why.values()):
            reasons.append(f"{name}: {'; '.join(dict.fromkeys(filter(None, why.values())))}")
            continue
        found.append(runtime)
        for precision, reason in why.items():
            if reason and by_precision:
                print(f"left out: {name} in {precision}: {reason}", file=sys.stderr)
    if named and reasons:
        raise NothingRuns("; ".join(reasons))
    for reason in reasons:
        print(f"left out: {reason}", file=sys.stderr)
    if not found:
        raise NothingRuns("no runtime can run here")
    return tuple(found)
