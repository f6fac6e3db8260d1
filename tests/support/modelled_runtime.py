"""A runtime whose latency is a function of the network: nothing is exported and no clock is asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from export.lab.files import Files
from export.lab.rounds import Ready
from export.lab.setting import Setting
from export.lab.subject import Subject
from export.runtimes import BuildError
from tests.support.made_up_lab import MadeUp


@dataclass
class Modelled:
    """`ms`: milliseconds of a subject; None where it does not build. `noise`: relative, of its calls."""

    ms: Callable[[Subject], float | None]
    name: str = "onnxruntime"
    device: str = "cpu"
    noise: Callable[[Subject], float] = lambda subject: 0.004
    prepared: list[str] = field(default_factory=list)
    made: list[MadeUp] = field(default_factory=list)

    def why_not(self, setting: Setting) -> str | None:
        return None if setting.precision == "fp32" else "fp32 only"

    def refuses(self, subject: Subject, setting: Setting) -> str | None:
        return None

    def prepare(self, subject: Subject, setting: Setting, files: Files) -> Ready:
        self.prepared.append(subject.name)
        ms = self.ms(subject)
        if ms is None:
            raise BuildError(f"{subject.name}: no such kernel")
        self.made.append(MadeUp(ms, name=subject.name, within=self.noise(subject)))
        return self.made[-1]

    def versions(self) -> dict[str, str]:
        return {"made_up": "1"}
