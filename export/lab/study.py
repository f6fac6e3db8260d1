"""A published comparison as a command: `python -m export.studies.NAME`.

A study says what to measure and how to draw it; flags, runtimes, the store, resuming, tables, claims and
files are the same for all. Written to --out: NAME.csv (a row per contender), NAME.claims.csv, NAME.png and
NAME.svg, NAME.md (a paragraph, the claims and the table), NAME.jsonl (the records: the same command goes on
where it stopped).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from export._optional import require
from export.arguments import UsageError, choice
from export.lab import outputs, remembered
from export.lab.bar import Bar
from export.lab.claim import judge
from export.lab.ending import exit_status
from export.lab.heat import Lab
from export.lab.options import Options, parse
from export.lab.plan import Measured, Plan, Row
from export.lab.runtimes import Runtime
from export.lab.store import Store

__all__ = ["Measured", "Options", "Plan", "Row", "Study", "main", "measure_plan"]


@dataclass(frozen=True)
class Study:
    """
    Attributes:
      name: of the module in export.studies.
      title, source: what is compared, and where it was published.
      plans: options -> heats, the same for each runtime and precision; keys are unique.
      columns: (measured, contender name) -> more columns of its row; counts, times and ratios are there
        already.
      draw: (matplotlib figure, all measured) -> None.
      paragraph: all measured -> a few sentences that say what was seen, with the numbers.
      measure: for studies that must measure to know what to measure (equal latency): does all of it in place
        of `plans`, by `lab.heat`, `lab.measure` and `measure_plan`; `plans` then says what `--only` may name.
    """

    name: str
    title: str
    source: str
    plans: Callable[[Options], Sequence[Plan]]
    draw: Callable[[Any, Sequence[Measured]], None]
    paragraph: Callable[[Sequence[Measured]], str]
    columns: Callable[[Measured, str], Mapping[str, Any]] = field(default=lambda measured, name: {})
    measure: Callable[[Lab, Options, Bar], Sequence[Measured]] | None = None


def measure_plan(plan: Plan, lab: Lab, runtime: Runtime, options: Options, bar: Bar) -> list[Measured]:
    """One heat for each precision that the runtime has, or one of all if the plan is mixed."""
    settings = options.settings(runtime, plan.batch)
    found = []
    for together in [settings] if plan.mixed else [[setting] for setting in settings]:
        if not together:
            continue
        heat = lab.measure(plan.contenders(together), runtime, bar, plan.reference)
        findings = tuple(judge(claim, heat, runtime.name, together[0].as_dict()) for claim in plan.claims)
        found.append(Measured(plan, runtime.name, together[0], heat, findings))
    return found


def main(study: Study, argv: Sequence[str] | None = None) -> int:
    """The command of a study; returns the exit status: 0 measured, 1 something could not be, 2 a mistake, 130
    or 143 interrupted: the same command goes on."""

    def work(check: Callable[[], None]) -> int:
        require("matplotlib")
        program = f"python -m export.studies.{study.name}"
        options = parse(program, study.title, argv, default_out=f"studies/{study.name}")
        return _run(study, options, check)

    return exit_status(study.name, work)


def _run(study: Study, options: Options, check: Callable[[], None]) -> int:
    store = _store(study, options)
    if options.redraw:
        if not store.records:
            raise UsageError(f"--redraw: {store.path} holds no records")
        options = replace(options, runtimes=remembered.runtimes(store))
    plans = _wanted(study, options)
    lab = Lab(
        study.name, store, options.seconds, small=options.small, anywhere=options.redraw, retry=options.retry
    )
    total = sum(
        len(plan.subjects) * len(options.settings(runtime, plan.batch))
        for plan in plans
        for runtime in options.runtimes
    )
    bar = Bar(total, check=check)
    try:
        if study.measure is not None:
            measured = list(study.measure(lab, options, bar))
        else:
            measured = [
                one
                for runtime in options.runtimes
                for plan in plans
                for one in measure_plan(plan, lab, runtime, options, bar)
            ]
    finally:
        bar.close()
    missing = [
        f"{one.runtime}, {one.plan.key}: {name}: {why}"
        for one in measured
        for name, why in one.heat.missing.items()
    ]
    for line in missing:
        print(f"not measured: {line}", file=sys.stderr)
    if not any(one.heat.records for one in measured):
        print(f"{study.name}: nothing was measured", file=sys.stderr)
        return 1
    for path in outputs.write(study, measured, options.out, small=options.small):
        print(path)
    return 1 if missing else 0


def _wanted(study: Study, options: Options) -> list[Plan]:
    try:
        plans = list(study.plans(options))
    except ValueError as error:
        raise UsageError(str(error)) from error
    keys = [plan.key for plan in plans]
    if len(set(keys)) < len(keys):
        raise RuntimeError(f"{study.name}: two plans have one key in {keys}")
    for key in options.only:
        choice("--only", key, keys)
    return [plan for plan in plans if not options.only or plan.key in options.only]


def _store(study: Study, options: Options) -> Store:
    """That of --out. Refused: files of the study's names without records, records of others, small ones
    beside others."""
    path = options.out / f"{study.name}.jsonl"
    if options.out.exists() and not options.out.is_dir():
        raise UsageError(f"--out {options.out}: not a folder")
    there = [ending for ending in outputs.PRODUCTS if path.with_suffix(ending).exists()]
    if there and not path.is_file():
        raise UsageError(
            f"--out {options.out} holds {study.name}{there[0]} without {path.name}: choose another --out"
        )
    try:
        store = Store(path)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if store.cut:
        print(f"{study.name}: {store.cut}", file=sys.stderr)
    for record in store.records:
        if record.study != study.name:
            raise UsageError(f"{path} holds records of {record.study}: choose another --out")
        if record.small != options.small:
            kind = "--small" if record.small else "full"
            raise UsageError(f"{path} holds records of {kind} networks: choose another --out")
    return store
