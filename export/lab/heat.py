"""Contenders on one runtime, measured together; what a study asks for again and again."""

from __future__ import annotations

import json
import shlex
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime

from export import provenance
from export.lab import conditions
from export.lab.bar import Bar
from export.lab.contender import Contender
from export.lab.files import Files
from export.lab.record import DECIMALS, Record
from export.lab.rounds import Ready, Taken, measure
from export.lab.runtimes import Runtime
from export.lab.setting import Setting
from export.lab.store import Store
from export.lab.subject import Subject
from export.lab.verdict import Verdict
from export.runtimes import BuildError


class Heat:
    """Records by the name of their contender, in the order of the plan.

    Attributes:
      missing: contender -> why it was not measured, in one line.
    """

    def __init__(self, records: Sequence[Record], missing: Mapping[str, str] | None = None):
        self.records: Mapping[str, Record] = {record.name: record for record in records}
        self.missing = dict(missing or {})

    def __getitem__(self, name: str) -> Record:
        return self.records[name]

    def __contains__(self, name: str) -> bool:
        return name in self.records

    def __iter__(self) -> Iterator[str]:
        return iter(self.records)

    def against(self, a: str, b: str) -> Verdict:
        """Of contender `a` against contender `b`."""
        return self[a].against(self[b])


class Lab:
    """Measures and remembers: a heat that is in the store already is taken from there.

    Args:
      study: its name in the records.
      store: where records are kept.
      seconds: of measuring for each contender of a heat.
      small: the networks are too small for their times to say anything; kept in the records.
    """

    def __init__(
        self, study: str, store: Store, seconds: float, files: Files | None = None, *, small: bool = False
    ):
        self.study, self.store, self.seconds, self.small = study, store, seconds, small
        self._files = files or Files()

    def heat(self, subjects: Sequence[Subject], runtime: Runtime, setting: Setting, bar: Bar) -> Heat:
        """`measure` of subjects that all run in one setting."""
        return self.measure([Contender(one.name, one, setting) for one in subjects], runtime, bar)

    def measure(self, contenders: Sequence[Contender], runtime: Runtime, bar: Bar) -> Heat:
        """Prepares all, and measures all in turns. What the runtime refuses, and what cannot be built, is in
        `Heat.missing`; the others are measured without it."""
        known = self._known(contenders, runtime)
        if known is not None:
            bar.step(len(contenders))
            return known
        missing: dict[str, str] = {}
        with ExitStack() as stack:
            ready: dict[str, Ready] = {}
            for one in contenders:
                bar.say(f"{runtime.name}, {one.setting}: preparing {one.name}")
                why = runtime.refuses(one.subject, one.setting)
                if why is None:
                    try:
                        ready[one.name] = runtime.prepare(one.subject, one.setting, self._files)
                        stack.callback(ready[one.name].close)
                    except (BuildError, ValueError) as error:
                        why = str(error).splitlines()[0] if str(error) else type(error).__name__
                if why is not None:
                    missing[one.name] = why
            if not ready:
                bar.step(len(contenders))
                return Heat([], missing)
            bar.say(f"{runtime.name}: measuring {len(ready)} in turns")
            before = conditions.now()
            taken = measure(ready, self.seconds * len(ready))
            after = conditions.now()
            records = self._records(contenders, ready, taken, runtime, missing, before, after)
        self.store.append(records)
        bar.step(len(contenders))
        return Heat(records, missing)

    def _records(
        self,
        contenders: Sequence[Contender],
        ready: Mapping[str, Ready],
        taken: Mapping[str, Taken],
        runtime: Runtime,
        missing: Mapping[str, str],
        before: Mapping[str, object],
        after: Mapping[str, object],
    ) -> list[Record]:
        identity = uuid.uuid4().hex[:12]
        return [
            Record(
                study=self.study,
                heat=identity,
                name=one.name,
                runtime=runtime.name,
                device=runtime.device,
                subject=dict(one.subject.facts),
                setting=one.setting.as_dict(),
                samples=[round(sample.ms, DECIMALS) for sample in taken[one.name].samples],
                disturbed=[i for i, sample in enumerate(taken[one.name].samples) if sample.disturbed],
                warm_up=taken[one.name].warm_up,
                stable=taken[one.name].stable,
                clock=ready[one.name].clock,
                memory=dict(ready[one.name].memory),
                conditions={"before": before, "after": after},
                machine=provenance.machine(),
                versions={**provenance.versions(), **runtime.versions()},
                command=shlex.join(["python", "-m", *_command(self.study), *sys.argv[1:]]),
                date=datetime.now(UTC).isoformat(timespec="seconds"),
                missing=dict(missing),
                small=self.small,
            )
            for one in contenders
            if one.name in ready
        ]

    def _known(self, contenders: Sequence[Contender], runtime: Runtime) -> Heat | None:
        """The latest heat of this study on this machine that holds them all, but for those it knows cannot be."""
        wanted = {one.name: _identity(one.subject.facts, one.setting.as_dict()) for one in contenders}
        machine = provenance.machine()
        heats: dict[str, list[Record]] = {}
        for record in self.store.records:
            if (record.study, record.runtime, record.machine) == (self.study, runtime.name, machine):
                heats.setdefault(record.heat, []).append(record)
        for records in reversed(list(heats.values())):
            missing = {name: why for name, why in records[0].missing.items() if name in wanted}
            held = {record.name: _identity(record.subject, record.setting) for record in records}
            if {name: one for name, one in wanted.items() if name not in missing}.items() <= held.items():
                return Heat([record for record in records if record.name in wanted], missing)
        return None


def _identity(facts: Mapping[str, object], setting: Mapping[str, object]) -> str:
    return json.dumps([dict(facts), dict(setting)], sort_keys=True)


def _command(study: str) -> list[str]:
    return [f"export.{study}" if study == "bench" else f"export.studies.{study}"]
