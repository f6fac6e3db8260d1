"""Studies of the lab with made-up times."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from made_up_lab import MadeUpRuntime
from made_up_records import record

from export.lab import options
from export.lab.claim import judge
from export.lab.heat import Heat
from export.lab.options import Options
from export.lab.plan import Measured, Plan
from export.lab.runtimes import Runtime
from export.lab.setting import Setting
from export.lab.study import Study, main


def small_options(batch: int | None = None, runtime: Runtime | None = None, small: bool = True) -> Options:
    return Options((runtime or MadeUpRuntime({}),), ("fp32",), batch, 1.0, small, Path("unused"))


def measured(plan: Plan, times: Mapping[str, float], runtime: str = "onnxruntime") -> Measured:
    """The plan, with these milliseconds by contender, give or take nothing; those without one are missing."""
    heat = Heat(
        [
            record(
                subject.name, times[subject.name], heat=f"{runtime} {plan.key}", runtime=runtime,
                reference=plan.reference or plan.subjects[0].name, spread=0.0, batch=plan.batch,
                subject=dict(subject.facts),
            )
            for subject in plan.subjects
            if subject.name in times
        ],
        {subject.name: "made up" for subject in plan.subjects if subject.name not in times},
    )  # fmt: skip
    setting = Setting(batch=plan.batch)
    findings = tuple(judge(claim, heat, runtime, setting.as_dict()) for claim in plan.claims)
    return Measured(plan, runtime, setting, heat, findings)


def outcomes(one: Measured) -> dict[str, str]:
    """What each claim came to, by its text."""
    return {finding.claim.text: finding.outcome for finding in one.findings}


def command(
    study: Study, times: Mapping[str, float], folder: Path, monkeypatch: pytest.MonkeyPatch, *flags: str
) -> tuple[int, Path]:
    """(exit status, folder of the results) of the study's command on a runtime with these times."""
    runtime = MadeUpRuntime(times)
    monkeypatch.setattr(options, "make", lambda name, **ways: runtime)
    given = ["--small", "--runtimes", "onnxruntime", "--seconds", "0.01", "--out", str(folder), *flags]
    return main(study, given), folder
