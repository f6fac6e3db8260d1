"""One line of the results store: one contender of one heat.

A heat is a set of contenders that were timed in turns in one process: records of one heat are compared
directly, others by the reference that both heats measured.
"""

from __future__ import annotations

import bisect
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from export.lab import conditions
from export.lab.rounds import Sample
from export.lab.verdict import Summary, Verdict, compare, summarise

SCHEMA = 1
#: Decimals of a millisecond that are kept of a sample.
DECIMALS = 4
#: Change between the first and the last samples that is worth a warning.
DRIFT = 0.05


@dataclass(frozen=True)
class Record:
    """Fields as in docs/results/README.md, which is the schema.

    Attributes:
      study: the command that measured, "bench" for `export.bench`.
      heat: identifies the heat: records with the same one are comparable.
      name: of the contender in its heat: the subject's name where all run in one setting.
      runtime, device: "onnxruntime", "cpu".
      subject: `Subject.facts`.
      setting: `Setting.as_dict()`.
      samples: milliseconds of each round; disturbed: places of the samples that were disturbed.
      warm_up, stable: calls before the first sample, and whether they had settled.
      clock: what was read.
      memory: bytes, by what they are.
      conditions: {"before": ..., "after": ...}: load, clocks, temperature, throttle reasons.
      machine, versions, command, date: where, with what, how and when (UTC, ISO 8601).
      openings: places of the samples that were the first of an opening.
      reference: name of the contender that ratios are given to; a measurement of many contenders is split
        into heats that all hold it.
      missing: contenders of the heat that could not be measured, and why.
      small: the networks are too small for their times to say anything.
    """

    study: str
    heat: str
    name: str
    runtime: str
    device: str
    subject: Mapping[str, Any]
    setting: Mapping[str, Any]
    samples: Sequence[float]
    disturbed: Sequence[int]
    warm_up: int
    stable: bool
    clock: str
    memory: Mapping[str, int]
    conditions: Mapping[str, Any]
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    command: str
    date: str
    openings: Sequence[int] = (0,)
    reference: str | None = None
    missing: Mapping[str, str] = field(default_factory=dict)
    small: bool = False
    schema: int = SCHEMA

    def taken(self) -> list[Sample]:
        out, first = set(self.disturbed), list(self.openings)
        return [
            Sample(ms, place in out, max(0, bisect.bisect_right(first, place) - 1))
            for place, ms in enumerate(self.samples)
        ]

    def summary(self) -> Summary:
        return summarise(self.taken())

    def against(self, other: Record) -> Verdict:
        """Raises ValueError if they were not measured together."""
        if self.heat != other.heat:
            raise ValueError(f"{self.name} and {other.name} were not measured in one heat")
        return compare(self.taken(), other.taken())

    def spread(self) -> float | None:
        """Standard deviation between the openings' medians, as a share: 0.02 for 2 %. None for one
        opening."""
        levels: dict[int, list[float]] = {}
        for sample in self.taken():
            levels.setdefault(sample.opening, []).append(sample.ms)
        if len(levels) < 2:
            return None
        return statistics.stdev(math.log(statistics.median(times)) for times in levels.values())

    def drift(self) -> float:
        """How much the last third of the samples is slower than the first: 0.02 for 2 %."""
        third = max(1, len(self.samples) // 3)
        return statistics.median(self.samples[-third:]) / statistics.median(self.samples[:third]) - 1

    def warnings(self) -> list[str]:
        """What a reader must know before trusting the times; empty where nothing was odd."""
        found = [] if self.stable else [f"not settled after {self.warm_up} calls"]
        if abs(self.drift()) > DRIFT:
            found.append(f"drifted by {100 * self.drift():+.0f} % while it was measured")
        before, after = self.conditions.get("before") or {}, self.conditions.get("after") or {}
        return found + conditions.warnings(before, after, self.machine.get("cpus"))
