"""Subjects in one setting on one runtime, measured together; what a study asks for again and again."""

from __future__ import annotations

import json
import shlex
import sys
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime

from export import provenance
from export.lab import conditions
from export.lab.bar import Bar
from export.lab.files import Files
from export.lab.record import DECIMALS, Record
from export.lab.rounds import Ready, measure
from export.lab.runtimes import Runtime
from export.lab.setting import Setting
from export.lab.store import Store
from export.lab.subject import Subject


class Heat:
    """Records by the name of their subject."""

    def __init__(self, records: Sequence[Record]):
        self.records: Mapping[str, Record] = {record.name: record for record in records}

    def __getitem__(self, name: str) -> Record:
        return self.records[name]


class Lab:
    """Measures and remembers: a heat that is in the store already is taken from there.

    Args:
      study: its name in the records.
      store: where records are kept.
      seconds: of measuring for each subject of a heat.
    """

    def __init__(self, study: str, store: Store, seconds: float, files: Files | None = None):
        self.study, self.store, self.seconds = study, store, seconds
        self._files = files or Files()

    def heat(self, subjects: Sequence[Subject], runtime: Runtime, setting: Setting, bar: Bar) -> Heat:
        """Prepares all, and measures all in turns.

        Raises:
          BuildError, ValueError: a subject cannot be exported or built.
        """
        known = self._known(subjects, runtime, setting)
        if known is not None:
            return known
        with ExitStack() as stack:
            ready: dict[str, Ready] = {}
            for subject in subjects:
                bar.say(f"{runtime.name}, {setting}: preparing {subject.name}")
                ready[subject.name] = runtime.prepare(subject, setting, self._files)
                stack.callback(ready[subject.name].close)
            bar.say(f"{runtime.name}, {setting}: measuring {len(subjects)}")
            before = conditions.now()
            taken = measure(ready, self.seconds * len(subjects))
            after = conditions.now()
        identity = uuid.uuid4().hex[:12]
        records = [
            Record(
                study=self.study,
                heat=identity,
                name=subject.name,
                runtime=runtime.name,
                device=runtime.device,
                subject=dict(subject.facts),
                setting=setting.as_dict(),
                samples=[round(sample.ms, DECIMALS) for sample in taken[subject.name].samples],
                disturbed=[i for i, sample in enumerate(taken[subject.name].samples) if sample.disturbed],
                warm_up=taken[subject.name].warm_up,
                stable=taken[subject.name].stable,
                clock=ready[subject.name].clock,
                memory=dict(ready[subject.name].memory),
                conditions={"before": before, "after": after},
                machine=provenance.machine(),
                versions={**provenance.versions(), **runtime.versions()},
                command=shlex.join(["python", "-m", f"export.{self.study}", *sys.argv[1:]]),
                date=datetime.now(UTC).isoformat(timespec="seconds"),
            )
            for subject in subjects
        ]
        self.store.append(records)
        bar.step(len(records))
        return Heat(records)

    def _known(self, subjects: Sequence[Subject], runtime: Runtime, setting: Setting) -> Heat | None:
        wanted = {subject.name: json.dumps(dict(subject.facts), sort_keys=True) for subject in subjects}
        heats: dict[str, list[Record]] = {}
        for record in self.store.records:
            if record.runtime == runtime.name and record.setting == setting.as_dict():
                heats.setdefault(record.heat, []).append(record)
        for records in reversed(list(heats.values())):
            held = {record.name: json.dumps(record.subject, sort_keys=True) for record in records}
            if wanted.items() <= held.items():
                return Heat(records)
        return None
