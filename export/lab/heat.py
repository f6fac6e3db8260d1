"""Contenders on one runtime, measured together; what a study asks for again and again."""

from __future__ import annotations

import shlex
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from export import provenance
from export.lab.bar import Bar
from export.lab.contender import Contender
from export.lab.files import Files
from export.lab.known import known
from export.lab.record import DECIMALS, Record
from export.lab.rounds import Taken
from export.lab.runtimes import Runtime
from export.lab.setting import Setting
from export.lab.store import Store
from export.lab.subject import Subject
from export.lab.taking import take
from export.lab.verdict import Verdict, chain

#: A measurement is split where it holds more contenders, or more parameters in all: they must fit the memory.
MOST, MOST_PARAMETERS = 16, 300_000_000


class Heat:
    """Records by the name of their contender, in the order of the plan.

    Where a measurement was split into several heats, each holds the reference; it appears here once.

    Attributes:
      missing: contender -> why it was not measured, in one line.
      every: all records, the reference as often as it was measured.
    """

    def __init__(self, records: Sequence[Record], missing: Mapping[str, str] | None = None):
        self.every = tuple(records)
        self.records: dict[str, Record] = {}
        self._references: dict[str, Record] = {}
        for record in records:
            self.records.setdefault(record.name, record)
            if record.name == record.reference:
                self._references[record.heat] = record
        self.missing = dict(missing or {})

    def __getitem__(self, name: str) -> Record:
        return self.records[name]

    def __contains__(self, name: object) -> bool:
        return name in self.records

    def __iter__(self) -> Iterator[str]:
        return iter(self.records)

    def against(self, a: str, b: str) -> Verdict:
        """Of contender `a` against contender `b`: directly if they ran in turns, else by the reference that
        ran with both.

        Raises:
          KeyError: one of them was not measured, or no reference with both.
        """
        first, second = self[a], self[b]
        if first.heat == second.heat:
            return first.against(second)
        with_first, with_second = self._references[first.heat], self._references[second.heat]
        if with_first.name != with_second.name:  # it failed in one of them
            raise KeyError(f"{a} and {b} were not measured with one reference")
        if second.name == with_first.name:
            return first.against(with_first)
        if first.name == with_second.name:
            return with_second.against(second)
        return chain(first.against(with_first), second.against(with_second))


class Lab:
    """Measures and remembers: a heat that is in the store already is taken from there.

    Args:
      study: its name in the records.
      store: where records are kept.
      seconds: of measuring for each contender of a heat.
      small: the networks are too small for their times to say anything; kept in the records.
      retry: measure again where something was missing.
      anywhere: take heats of other machines and versions from the store too.
      program: the module that is run, for the records; by default that of the study.
    """

    def __init__(
        self,
        study: str,
        store: Store,
        seconds: float,
        files: Files | None = None,
        *,
        small: bool = False,
        anywhere: bool = False,
        retry: bool = False,
        program: str | None = None,
    ):
        self.study, self.store, self.seconds, self.small = study, store, seconds, small
        self.program, self.anywhere = program or _program(study), anywhere
        self._files, self.retry = files or Files(), retry

    def heat(self, subjects: Sequence[Subject], runtime: Runtime, setting: Setting, bar: Bar) -> Heat:
        """`measure` of subjects that all run in one setting."""
        return self.measure([Contender(one.name, one, setting) for one in subjects], runtime, bar)

    def measure(
        self, contenders: Sequence[Contender], runtime: Runtime, bar: Bar, reference: str | None = None
    ) -> Heat:
        """Prepares all, and measures all in turns. What the runtime refuses, and what cannot be built, is in
        `Heat.missing`; the others are measured without it.

        Args:
          contenders: more than MOST, or than fit in memory, are measured in several heats that share the
            reference.
          reference: name of the contender that ratios are given to; the first where there is none of this
            name.
        """
        if reference not in {one.name for one in contenders}:  # another precision, which this runtime has not
            reference = contenders[0].name
        records: list[Record] = []
        missing: dict[str, str] = {}
        for place, part in enumerate(split(contenders, reference)):
            old = known(
                self.store.records, self.study, part, runtime, anywhere=self.anywhere, retry=self.retry
            )
            found, absent = old or self._measure(part, runtime, bar, reference)
            # the reference of later parts is no news
            bar.step(len(part) - (place > 0), old=old is not None)
            records += found
            missing |= absent
        order = {one.name: place for place, one in enumerate(contenders)}
        return Heat(sorted(records, key=lambda record: order[record.name]), missing)

    def _measure(
        self, contenders: Sequence[Contender], runtime: Runtime, bar: Bar, reference: str
    ) -> tuple[list[Record], Mapping[str, str]]:
        found = take(contenders, runtime, self._files, bar, seconds=self.seconds, reference=reference)
        if reference not in found.taken:
            reference = next(iter(found.taken), reference)
        identity, command = uuid.uuid4().hex[:12], shlex.join(["python", "-m", self.program, *sys.argv[1:]])
        machine, versions = provenance.machine(), {**provenance.versions(), **runtime.versions()}
        date = datetime.now(UTC).isoformat(timespec="seconds")
        records = [
            Record(
                study=self.study,
                heat=identity,
                name=one.name,
                runtime=runtime.name,
                device=runtime.device,
                subject=dict(one.subject.facts),
                setting=one.setting.as_dict(),
                samples=[round(sample.ms, DECIMALS) for sample in taken.samples],
                disturbed=[place for place, sample in enumerate(taken.samples) if sample.disturbed],
                warm_up=taken.warm_up,
                stable=taken.stable,
                clock=found.clock[one.name],
                memory=found.memory[one.name],
                conditions={"before": found.before, "after": found.after},
                machine=machine,
                versions=versions,
                command=command,
                date=date,
                openings=_openings(taken),
                reference=reference,
                missing=found.missing,
                small=self.small,
            )
            for one in contenders
            if (taken := found.taken.get(one.name)) is not None
        ]
        if records:
            self.store.append(records)
        return records, found.missing


def split(contenders: Sequence[Contender], reference: str) -> list[list[Contender]]:
    """Into as few parts as fit, each with the contender called `reference` first, if there is one."""
    shared = [one for one in contenders if one.name == reference]
    parts: list[list[Contender]] = [list(shared)]
    for one in contenders:
        if one.name == reference:
            continue
        last = parts[-1]
        held = sum(_parameters(other) for other in last)
        alone = len(last) == len(shared)
        if not alone and (len(last) >= MOST or held + _parameters(one) > MOST_PARAMETERS):
            last = [*shared]
            parts.append(last)
        last.append(one)
    return parts


def _parameters(one: Contender) -> int:
    return int(one.subject.facts.get("params") or 0)


def _openings(taken: Taken) -> list[int]:
    """Places of the samples that were the first of an opening."""
    each = [sample.opening for sample in taken.samples]
    return [place for place, one in enumerate(each) if place == 0 or one != each[place - 1]]


def _program(study: str) -> str:
    return f"export.{study}" if study in ("bench", "calibrate") else f"export.studies.{study}"
