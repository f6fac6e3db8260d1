"""A published comparison as a command: `python -m export.studies.NAME`.

A study says what to measure and how to draw it; flags, runtimes, the store, resuming, tables, claims and files are
the same for all. Written to --out: NAME.csv (a row per contender), NAME.png and NAME.svg, NAME.md (a paragraph, the
claims and the table), NAME.jsonl (the records: the same command goes on where it stopped).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from export.lab.bar import Bar
from export.lab.claim import Claim, Finding
from export.lab.heat import Heat, Lab
from export.lab.runtimes import Runtime
from export.lab.setting import Setting
from export.lab.subject import Subject

Row = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """One heat of a study: subjects that are compared with each other. `key`: what tells it from the study's other
    heats on the same runtime ("224 px")."""

    key: str
    subjects: Sequence[Subject]
    batch: int = 1
    claims: Sequence[Claim] = ()
    reference: str | None = None  # the subject that ratios are given to; the first by default


@dataclass(frozen=True)
class Options:
    """What the flags of every study say.

    Attributes:
      runtimes: those of --runtimes that can run here, or all that can.
      precisions: each runtime measures those it can.
      batch: None for the study's own.
      seconds: of measuring for each contender.
      small: networks of a few channels, to try the command itself (--small): its numbers say nothing.
      out: folder of the results.
    """

    runtimes: tuple[Runtime, ...]
    precisions: tuple[str, ...]
    batch: int | None
    seconds: float
    small: bool
    out: Path


@dataclass(frozen=True)
class Measured:
    """A plan that was measured on one runtime in one setting."""

    plan: Plan
    runtime: str
    setting: Setting
    heat: Heat
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Study:
    """
    Attributes:
      name: of the module in export.studies.
      title, source: what is compared, and where it was published.
      plans: options -> heats, the same for each runtime and precision.
      columns: (measured, subject name) -> more columns of its row; counts, times and ratios are there already.
      draw: (matplotlib figure, all measured) -> None.
      paragraph: all measured -> a few sentences that say what was seen, with the numbers.
      measure: for studies that must measure to know what to measure (equal latency): does all of it in place of
        `plans`.
    """

    name: str
    title: str
    source: str
    plans: Callable[[Options], Sequence[Plan]]
    draw: Callable[[Any, Sequence[Measured]], None]
    paragraph: Callable[[Sequence[Measured]], str]
    columns: Callable[[Measured, str], Mapping[str, Any]] = field(default=lambda measured, name: {})
    measure: Callable[[Lab, Options, Bar], Sequence[Measured]] | None = None


def main(study: Study, argv: Sequence[str] | None = None) -> int:
    """The command of a study; returns the exit status: 0 measured, 1 something could not be, 2 a mistake."""
    raise NotImplementedError  # by the owner of the lab's core
