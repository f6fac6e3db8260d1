"""Runtimes of the latency lab whose times are made up, on a clock that only they move."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from export.lab.files import Files
from export.lab.rounds import Ready, Sample
from export.lab.setting import Setting
from export.lab.subject import Subject
from export.runtimes import BuildError


@dataclass
class Clock:
    """Seconds."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class MadeUp:
    """Calls of `ms` milliseconds.

    Attributes:
      between, within: standard deviations of the logarithm: of an opening's level, of a call.
      opens_in: seconds that opening again takes.
      cold: calls that take ten times as long, at first.
      shape: number of calls so far -> a factor.
      fails_at: the call with this number fails.
      log: the names of the contenders that were called, in order, shared by all.
    """

    ms: float
    clock_: Clock = field(default_factory=Clock)
    name: str = ""
    between: float = 0.0
    within: float = 0.0
    opens_in: float = 0.01
    cold: int = 0
    shape: Callable[[int], float] = lambda calls: 1.0
    seed: int = 0
    fails_at: int | None = None
    log: list[str] = field(default_factory=list)
    clock: str = "made up"
    memory: Mapping[str, int] = field(default_factory=lambda: {"running": 1 << 20})
    closed: bool = False

    def __post_init__(self) -> None:
        self._draw = random.Random(f"{self.name} {self.seed}")
        self._calls, self.openings = 0, 0
        self._open()

    def _open(self) -> None:
        self.openings += 1
        self._level = self.ms * math.exp(self._draw.gauss(0, self.between))

    def reopen(self) -> None:
        self.clock_.now += self.opens_in
        self._open()

    def sample(self, count: int = 1) -> list[Sample]:
        found = []
        for _ in range(count):
            if self._calls == self.fails_at:
                raise BuildError(f"{self.name} stopped\nand this is the second line")
            self.log.append(self.name)
            noise = math.exp(abs(self._draw.gauss(0, self.within)))
            ms = self._level * noise * self.shape(self._calls) * (10 if self._calls < self.cold else 1)
            self._calls += 1
            self.clock_.now += ms / 1e3
            found.append(Sample(ms))
        return found

    def close(self) -> None:
        self.closed = True


@dataclass
class MadeUpRuntime:
    """`times`: milliseconds by the name of the subject; those without one do not build."""

    times: Mapping[str, float]
    name: str = "onnxruntime"
    device: str = "cpu"
    precisions: tuple[str, ...] = ("fp32",)
    refused: Mapping[str, str] = field(default_factory=dict)
    fails_at: Mapping[str, int] = field(default_factory=dict)
    prepared: list[str] = field(default_factory=list)
    before: Callable[[str], None] = lambda name: None  # asked before each is prepared

    def why_not(self, setting: Setting) -> str | None:
        return None if setting.precision in self.precisions else f"no {setting.precision} here"

    def refuses(self, subject: Subject, setting: Setting) -> str | None:
        return self.refused.get(subject.name)

    def prepare(self, subject: Subject, setting: Setting, files: Files) -> Ready:
        self.before(subject.name)
        self.prepared.append(f"{subject.name} {setting.precision}")
        if subject.name not in self.times:
            raise BuildError(f"{subject.name} does not build\nand this is the second line")
        ms = self.times[subject.name] * (0.5 if setting.precision == "fp16" else 1.0)
        fails_at = self.fails_at.get(subject.name)
        return MadeUp(ms, name=f"{subject.name} {setting.precision}", within=0.01, fails_at=fails_at)

    def versions(self) -> dict[str, str]:
        return {"made_up": "1"}


def subject(name: str, *, params: int = 1_000_000, macs: int = 1_000_000_000) -> Subject:
    """Never computed: only its counts are read."""
    facts = {"model": name, "image_size": [32, 32], "params": params, "macs": macs}
    return Subject(name, lambda precision: lambda weights, images: images, dict, (32, 32, 3), facts)
