"""One line of the results store: one contender of one heat.

A heat is a set of contenders that were timed in turns in one process: verdicts are between records of one heat.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from export.lab.rounds import Sample
from export.lab.verdict import Summary, Verdict, compare, summarise

SCHEMA = 1
#: Decimals of a millisecond that are kept of a sample.
DECIMALS = 4


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
    missing: Mapping[str, str] = field(default_factory=dict)
    small: bool = False
    schema: int = SCHEMA

    def taken(self) -> list[Sample]:
        out = set(self.disturbed)
        return [Sample(ms, place in out) for place, ms in enumerate(self.samples)]

    def summary(self) -> Summary:
        return summarise(self.taken())

    def against(self, other: Record) -> Verdict:
        """Raises ValueError if they were not measured together."""
        if self.heat != other.heat:
            raise ValueError(f"{self.name} and {other.name} were not measured in one heat")
        return compare(self.taken(), other.taken())
