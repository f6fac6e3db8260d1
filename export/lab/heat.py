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
from export.lab.rounds import Ready, Sample, Taken, measure
from export.lab.runtimes import Runtime
from export.lab.setting import Setting
from export.lab.store import Store
from export.lab.subject import Subject
from export.lab.verdict import Verdict, chain, decided, summarise
from export.runtimes import BuildError

#: A measurement is split where it holds more contenders, or more parameters in all: they must fit the memory.
MOST, MOST_PARAMETERS = 16, 300_000_000
#: Half of a ratio's interval below which more rounds are of no use.
TIGHT = 0.01
#: Share of a contender's time that preparing it takes, for the progress bar only.
PREPARING = 0.3


class Heat:
    """Records by the name of their contender, in the order of the plan.

    Where a measurement was split into several heats, each holds the reference; it appears here once.

    Attributes:
      missing: contender -> why it was not measured, in one line.
    """

    def __init__(self, records: Sequence[Record], missing: Mapping[str, str] | None = None):
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
        program: str | None = None,
    ):
        self.study, self.store, self.seconds, self.small = study, store, seconds, small
        self.program, self.anywhere = program or _program(study), anywhere
        self._files = files or Files()

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
            known = self._known(part, runtime)
            found, absent = known or self._measure(part, runtime, bar, reference)
            # the reference of later parts is no news
            bar.step(len(part) - (place > 0), old=known is not None)
            records += found
            missing |= absent
        order = {one.name: place for place, one in enumerate(contenders)}
        return Heat(sorted(records, key=lambda record: order[record.name]), missing)

    def _measure(
        self, contenders: Sequence[Contender], runtime: Runtime, bar: Bar, reference: str
    ) -> tuple[list[Record], dict[str, str]]:
        missing: dict[str, str] = {}
        with ExitStack() as stack:
            ready: dict[str, Ready] = {}
            for place, one in enumerate(contenders):
                bar.advance(PREPARING * place)
                bar.say(f"{runtime.name}, {one.setting}: preparing {one.name}")
                why = runtime.refuses(one.subject, one.setting)
                if why is None:
                    try:
                        ready[one.name] = runtime.prepare(one.subject, one.setting, self._files)
                        stack.callback(ready[one.name].close)
                    except (BuildError, ValueError) as error:
                        why = _in_one_line(error)
                if why is not None:
                    missing[one.name] = why
            if not ready:
                return [], missing
            before = conditions.now()
            taken = self._taken(contenders, ready, runtime, reference, missing, bar)
            if not ready:
                return [], missing
            after = conditions.now()
            records = self._records(contenders, ready, taken, runtime, reference, missing, before, after)
        self.store.append(records)
        return records, missing

    def _taken(
        self,
        contenders: Sequence[Contender],
        ready: dict[str, Ready],
        runtime: Runtime,
        reference: str,
        missing: dict[str, str],
        bar: Bar,
    ) -> dict[str, Taken]:
        """Samples of all that are ready. One that fails moves from `ready` to `missing`, and the others begin
        again."""
        while ready:
            bar.say(f"{runtime.name}: measuring {', '.join(ready)} in turns")
            try:
                return measure(
                    {name: _Watched(name, one) for name, one in ready.items()},
                    self.seconds * len(ready),
                    enough=lambda so_far: _enough(so_far, reference),
                    advance=lambda share: bar.advance(
                        len(contenders) * (PREPARING + (1 - PREPARING) * share)
                    ),
                )
            except _Failed as failed:
                ready.pop(failed.name)
                missing[failed.name] = _in_one_line(failed.error)
        return {}

    def _records(
        self,
        contenders: Sequence[Contender],
        ready: Mapping[str, Ready],
        taken: Mapping[str, Taken],
        runtime: Runtime,
        reference: str,
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
                command=shlex.join(["python", "-m", self.program, *sys.argv[1:]]),
                date=datetime.now(UTC).isoformat(timespec="seconds"),
                openings=_openings(taken[one.name]),
                reference=reference,
                missing=dict(missing),
                small=self.small,
            )
            for one in contenders
            if one.name in ready
        ]

    def _known(
        self, contenders: Sequence[Contender], runtime: Runtime
    ) -> tuple[list[Record], dict[str, str]] | None:
        """The latest heat of this study, on this machine and with these versions unless `anywhere`, that
        holds them all, but for those it knows cannot be."""
        wanted = {one.name: _identity(one.subject.facts, one.setting.as_dict()) for one in contenders}
        heats: dict[str, list[Record]] = {}
        here = None if self.anywhere else _here(runtime)
        for record in self.store.records:
            same = (record.study, record.runtime) == (self.study, runtime.name)
            if same and (self.anywhere or _place(record) == here):
                heats.setdefault(record.heat, []).append(record)
        for records in reversed(list(heats.values())):
            missing = {name: why for name, why in records[0].missing.items() if name in wanted}
            held = {record.name: _identity(record.subject, record.setting) for record in records}
            if {name: one for name, one in wanted.items() if name not in missing}.items() <= held.items():
                return [record for record in records if record.name in wanted], missing
        return None


class _Failed(Exception):
    """A contender stopped working while it was measured."""

    def __init__(self, name: str, error: Exception) -> None:
        super().__init__(name)
        self.name, self.error = name, error


class _Watched:
    """A contender that says who failed."""

    def __init__(self, name: str, ready: Ready) -> None:
        self._name, self._ready = name, ready
        self.clock, self.memory = ready.clock, ready.memory

    def sample(self, count: int = 1) -> list[Sample]:
        try:
            return self._ready.sample(count)
        except BuildError as error:
            raise _Failed(self._name, error) from error

    def reopen(self) -> None:
        try:
            self._ready.reopen()
        except BuildError as error:
            raise _Failed(self._name, error) from error

    def close(self) -> None:
        self._ready.close()


def _in_one_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _here(runtime: Runtime) -> tuple[object, ...]:
    gpu = (conditions.gpu() or {}).get("name") if runtime.device == "gpu" else None
    return provenance.machine(), gpu, {**provenance.versions(), **runtime.versions()}


def _place(record: Record) -> tuple[object, ...]:
    """Where and with what it was measured, as `_here` says it."""
    gpu = (record.conditions["before"].get("gpu") or {}).get("name") if record.device == "gpu" else None
    return record.machine, gpu, record.versions


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


def _enough(taken: Mapping[str, Sequence[Sample]], reference: str) -> bool:
    """Whether all ratios to the reference are known well enough; without others, all times."""
    others = [name for name in taken if name != reference]
    if reference in taken and others:
        return all(decided(taken[name], taken[reference], TIGHT) for name in others)
    return all(_tight(samples) for samples in taken.values())


def _tight(samples: Sequence[Sample]) -> bool:
    found = summarise(samples)
    return found.high - found.low <= 2 * TIGHT * found.typical


def _openings(taken: Taken) -> list[int]:
    """Places of the samples that were the first of an opening."""
    each = [sample.opening for sample in taken.samples]
    return [place for place, one in enumerate(each) if place == 0 or one != each[place - 1]]


def _identity(facts: Mapping[str, object], setting: Mapping[str, object]) -> str:
    return json.dumps([dict(facts), dict(setting)], sort_keys=True)


def _program(study: str) -> str:
    return f"export.{study}" if study in ("bench", "calibrate") else f"export.studies.{study}"
