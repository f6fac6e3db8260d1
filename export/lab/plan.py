"""What a study measures, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from export.lab.claim import Claim, Finding
from export.lab.contender import Contender
from export.lab.heat import Heat
from export.lab.setting import Setting
from export.lab.subject import Subject

Row = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """One heat of a study: subjects that are compared with each other.

    Attributes:
      key: what tells it from the study's other heats on the same runtime ("224 px"); `--only` takes it.
      subjects: their names are unique in the plan.
      batch: images of one call; `Options.batch` if the user asked for another is the study's to put here.
      reference: name of the contender that ratios are given to; the first by default.
      mixed: all precisions that are asked for and that the runtime has are measured in ONE heat, so that they
        can be compared; contenders are then called "resnet50 fp16", and so they are in claims and
        `reference`. Else there is a heat for each precision, and contenders are called as their subjects.
    """

    key: str
    subjects: Sequence[Subject]
    batch: int = 1
    claims: Sequence[Claim] = ()
    reference: str | None = None
    mixed: bool = False

    def contenders(self, settings: Sequence[Setting]) -> list[Contender]:
        """Of one heat in these settings."""
        return [
            Contender(f"{subject.name} {setting.precision}" if self.mixed else subject.name, subject, setting)
            for setting in settings
            for subject in self.subjects
        ]


@dataclass(frozen=True)
class Measured:
    """A plan that was measured on one runtime. `setting` is that of its first contender; where the plan is
    `mixed`, those of the others are in their records."""

    plan: Plan
    runtime: str
    setting: Setting
    heat: Heat
    findings: tuple[Finding, ...]

    @property
    def reference(self) -> str | None:
        """Name of the contender that ratios are given to; None if it was not measured."""
        wanted = next((record.reference for record in self.heat.records.values()), None)
        return wanted if wanted in self.heat else None
