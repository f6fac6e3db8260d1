"""Everything one export found out, its verdict, and the lines the user reads at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from export import parity
from export.economy import Economy
from export.engine_state import EngineState
from export.flags import Request
from export.gate import Gate, amount, worst
from export.gate_images import GateImages
from export.kind import Kind, kind_of
from export.load import Source
from export.precision.tf32_gate import line_of as tf32_line
from export.quantize.verdict import QuantiseVerdict
from export.report_parts import in_bytes
from export.runtimes import Built, Choice
from export.trial import Trial

if TYPE_CHECKING:
    from export.agreement import Agreement
    from export.precision.report import Precision
    from export.precision.worth import Worth


@dataclass(frozen=True)
class Outcome:
    """The parts of the report; `build_error` is why there is no engine although one was asked for."""

    request: Request
    source: Source
    size: tuple[int, int]
    images: GateImages
    model: bytes
    choice: Choice
    economy: Economy
    gate: Gate
    built: Built | None
    build_error: str | None
    trial: Trial
    agreement: Agreement | None = None
    precision: Precision | None = None
    quantised: QuantiseVerdict | None = None
    worth: Worth | None = None

    @property
    def kind(self) -> Kind:
        return kind_of(self.source.model, backbone=self.request.backbone)

    @property
    def accepted(self) -> bool:
        """Exit status 0: the gate passed, and so did everything that was asked for beside it."""
        worth = self.request.force_precision or not self._not_worth()
        return self.gate.passed and self.agrees and worth and self.build_error is None and self.trial.passed

    @property
    def agrees(self) -> bool:
        """Whether a half-precision file, or one with TF32, names the same classes on the validation images;
        where there are none, it is not asked."""
        if self.agreement is None or self.request.force_precision:
            return True
        if self.precision is None and not (self.request.tf32 and self.request.precision == "fp32"):
            return True
        return self.agreement.enough

    @property
    def engine(self) -> EngineState:
        return EngineState(self.choice, self.built, self.trial)

    def reasons(self) -> list[str]:
        """Why it was not accepted; empty if it was."""
        found = self.gate.reasons()
        if self.precision is not None and self.precision.note is not None:
            found.append(self.precision.note)
        precision = self.request.precision if self.precision else "tf32"
        if not self.agrees and self.agreement is not None:
            found.append(
                f"{precision} keeps the top-1 class on {100 * self.agreement.top1:.1f} % of "
                f"{self.agreement.images} validation images (limit {100 * parity.MIN_TOP1:.1f} %)"
            )
        if not self.request.force_precision:
            found += self._not_worth()
        if self.build_error is not None:
            found.append(self.build_error)
        found += [line.sentence() for line in self.trial.comparisons if not line.passed]
        return found + list(self.trial.errors)

    def notices(self) -> list[str]:
        """What a reader should know although it is no failure."""
        near = self.precision.caution() if self.precision else None
        narrow = self.quantised.cautions() if self.quantised else []
        return [
            text
            for text in (
                self.choice.notice,
                self.source.notice,
                self.gate.caution,
                near,
                *narrow,
                *self.engine.notices,
                *self.forced(),
            )
            if text
        ]

    def forced(self) -> list[str]:
        """What --force-precision let pass."""
        if not self.request.force_precision:
            return []
        lines = [line for line in (*self.gate.comparisons, *self.trial.comparisons) if line.forced]
        over = [line.sentence() for line in lines if line.passed and line.difference.relative > line.limit]
        return [f"forced: {text}" for text in [*over, *self._not_worth()]]

    def _not_worth(self) -> list[str]:
        """Why the precision is refused, whatever else is right."""
        return [reason for verdict in (self.quantised, self.worth) if verdict for reason in verdict.reasons()]

    def summary(self, paths: Sequence[Path]) -> str:
        """The verdict in a few lines."""
        request, lines = self.request, []
        name = (
            f"{self.source.name}, {request.precision}, batch {request.batch}, {self.size[0]}x{self.size[1]}"
        )
        if self.source.random:
            name += ", RANDOM WEIGHTS"
        lines.append(f"{'accepted' if self.accepted else 'REJECTED'}: {name}")
        lines += [f"  reason   {reason}" for reason in self.reasons()]
        lines += [f"  caution  {text}" for text in (self.source.notice, self.gate.caution) if text]
        found = worst(self.gate.comparisons, "model.onnx")
        if found is not None:
            verdict = "passed" if self.gate.passed else "FAILED"
            runner = f"{self.request.precision} rounding, emulated," if self.gate.emulated else "ONNX Runtime"
            lines.append(f"  gate     {verdict}: {runner} {amount(found)} on {found.images} images")
        ends = request.ends.line(request.input_layout)
        lines += [f"  ends     {ends}"] if ends else []
        tf32 = tf32_line(self.gate.comparisons)
        if tf32 is not None:
            lines.append(f"  tf32     {tf32}")
            lines += [f"  caution  {text}" for text in self.forced()]
        if self.precision is not None:
            lines.append(f"  floats   {self.precision.line()}")
        if self.worth is not None:
            lines.append(f"  worth    {self.worth.line()}")
        if self.quantised is not None:
            lines.append(f"  {request.precision:<8} {self.quantised.line()}")
            if self.quantised.searched is not None:
                lines.append(f"  search   {self.quantised.searched.line()}")
            lines += [f"  caution  {text}" for text in (*self.quantised.cautions(), *self.forced())]
        lines.append(f"  graph    {self.economy.nodes} nodes, {self.economy.transposes} Transposes")
        lines.append(f"  engine   {self.engine.line()}")
        lines += self.engine.options_lines(request.builder)
        lines += [f"  latency  {latency.line()}" for latency in self.trial.latencies]
        lines += [f"  wrote    {path}  ({in_bytes(path.stat().st_size)})" for path in paths]
        return "\n".join(lines)
