"""Heats of a study's plans with made-up times, for tests of what is drawn and said of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from made_up_records import record

from export.lab.claim import judge
from export.lab.heat import Heat
from export.lab.options import Options
from export.lab.plan import Measured, Plan
from export.lab.setting import Setting

#: Flags with which a study's command runs in seconds.
QUICK = ("--small", "--runtimes", "onnxruntime", "--precisions", "fp32", "--seconds", "0.05")


def small_options(**changes: Any) -> Options:
    """Of --small, without runtimes."""
    given: dict[str, Any] = dict(
        runtimes=(), precisions=("fp32",), batch=None, seconds=0.1, small=True, out=Path("nowhere")
    )
    return Options(**{**given, **changes})


def heat_of(plan: Plan, times: Mapping[str, float], runtime: str = "onnxruntime", **changes: Any) -> Measured:
    """`plan` measured with `times`, milliseconds by name; what has none is missing.

    `changes`: as of `record`."""
    setting = Setting(batch=plan.batch)
    records = [
        record(
            one.name,
            times[one.name],
            heat=f"{runtime} {plan.key}",
            runtime=runtime,
            subject=dict(one.facts),
            batch=plan.batch,
            **changes,
        )
        for one in plan.subjects
        if one.name in times
    ]
    missing = {one.name: "does not build" for one in plan.subjects if one.name not in times}
    heat = Heat(records, missing)
    findings = tuple(judge(claim, heat, runtime, setting.as_dict()) for claim in plan.claims)
    return Measured(plan, runtime, setting, heat, findings)


def figure() -> Any:
    """An empty one, without a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(layout="constrained")
    FigureCanvasAgg(made)
    return made


def texts(drawn: Any) -> set[str]:
    """All that is written in a figure, once it is drawn."""
    from matplotlib.text import Text

    drawn.canvas.draw()
    return {one.get_text() for one in drawn.findobj(Text) if one.get_text()}
