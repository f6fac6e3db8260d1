"""How far an engine came: built, run, gated. The same words from a checkpoint and from a bundle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from export.report_parts import in_bytes
from export.runtimes import Built, Choice, builder
from export.runtimes.builder import BuilderOptions
from export.runtimes.kernels import Kernel, data_movements
from export.trial import Trial

NOT_RUN = "built, not run"


@dataclass(frozen=True)
class EngineState:
    """`built`: None where nothing was built; `trial`: what running it found out."""

    choice: Choice
    built: Built | None
    trial: Trial

    @property
    def status(self) -> str:
        if not self.choice.runtime.builds_engine and not self.trial.ran:
            return "none"
        if self.built is None:
            return "not built"
        if not self.trial.ran:
            return NOT_RUN
        return "ran, and passed the gate" if self.trial.passed else "ran, and failed"

    @property
    def kernels(self) -> tuple[Kernel, ...] | None:
        """As the running engine told them, or else the builder."""
        return self.trial.kernels or (self.built.kernels if self.built else None)

    @property
    def notices(self) -> tuple[str, ...]:
        """What a user should know of the build although it is no failure."""
        return self.built.notices if self.built is not None else ()

    def options(self, asked: BuilderOptions) -> dict[str, Any]:
        """The rare builder options, for report.json: what was asked, and what the build made of it."""
        used = dict(self.built.options) if self.built is not None else {}
        return {**asked.as_dict(), **used, "line": builder.line(asked, used)}

    def options_lines(self, asked: BuilderOptions) -> list[str]:
        """The same for the summary: nothing, if nothing was asked."""
        text = self.options(asked)["line"]
        return ([f"  options  {text}"] if text else []) + [f"  notice   {line}" for line in self.notices]

    def line(self) -> str:
        """Status, size and kernels in one line."""
        text = self.status
        if self.trial.ran and not self.choice.runtime.builds_engine:
            text = f"none; {self.choice.runtime.deploys} {text}"
        if self.status == NOT_RUN and self.trial.why_not:
            text += f": {self.trial.why_not}"
        if self.built is not None and self.built.engine is not None:
            text += f"; {self.built.runtime}, {self.built.seconds:.1f} s, {in_bytes(len(self.built.engine))}"
        if self.kernels:
            text += f"; {len(self.kernels)} kernels, {len(data_movements(self.kernels))} only move data"
        return text
