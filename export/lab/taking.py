"""One heat: everything prepared, everything measured, whatever fails left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from export.lab import conditions
from export.lab.bar import Bar
from export.lab.contender import Contender
from export.lab.files import Files
from export.lab.rounds import Ready, Sample, Taken, measure
from export.lab.runtimes import Runtime
from export.lab.verdict import decided, summarise
from export.runtimes import BuildError

#: Half of a ratio's interval below which more rounds are of no use.
TIGHT = 0.01
#: Share of a contender's time that preparing it takes, for the progress bar only.
PREPARING = 0.3


@dataclass(frozen=True)
class Outcome:
    """Of one heat, by contender.

    Attributes:
      taken, clock, memory: of those that were measured; as of `Taken` and `Ready`.
      missing: of the others, why not, in one line.
      before, after: the machine's state.
    """

    taken: Mapping[str, Taken]
    clock: Mapping[str, str]
    memory: Mapping[str, Mapping[str, int]]
    missing: Mapping[str, str]
    before: Mapping[str, Any]
    after: Mapping[str, Any]


def take(
    contenders: Sequence[Contender],
    runtime: Runtime,
    files: Files,
    bar: Bar,
    *,
    seconds: float,
    reference: str,
) -> Outcome:
    """Prepares all, and measures all that can be in turns; `seconds` for each."""
    missing: dict[str, str] = {}
    with ExitStack() as stack:
        ready: dict[str, Ready] = {}
        for place, one in enumerate(contenders):
            bar.advance(PREPARING * place)
            bar.say(f"{runtime.name}, {one.setting}: preparing {one.name}")
            why = runtime.refuses(one.subject, one.setting)
            if why is None:
                try:
                    ready[one.name] = runtime.prepare(one.subject, one.setting, files)
                    stack.callback(ready[one.name].close)
                except (BuildError, ValueError) as error:
                    why = _in_one_line(error)
            if why is not None:
                missing[one.name] = why
        before = conditions.now()
        taken: Mapping[str, Taken] = {}
        while ready and not taken:
            bar.say(f"{runtime.name}: measuring {len(ready)} in turns")
            try:
                taken = measure(
                    {name: _Watched(name, one) for name, one in ready.items()},
                    seconds * len(ready),
                    enough=lambda so_far: _enough(so_far, reference),
                    advance=lambda share: bar.advance(
                        len(contenders) * (PREPARING + (1 - PREPARING) * share)
                    ),
                )
            except _Failed as failed:  # the others begin again without it
                ready.pop(failed.name)
                missing[failed.name] = _in_one_line(failed.error)
        after = conditions.now()
        clock = {name: one.clock for name, one in ready.items()}
        memory = {name: dict(one.memory) for name, one in ready.items()}
    return Outcome(taken, clock, memory, missing, before, after)


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


def _enough(taken: Mapping[str, Sequence[Sample]], reference: str) -> bool:
    """Whether all ratios to the reference are known well enough; without others, all times."""
    others = [name for name in taken if name != reference]
    if reference in taken and others:
        return all(decided(taken[name], taken[reference], TIGHT) for name in others)
    return all(_tight(samples) for samples in taken.values())


def _tight(samples: Sequence[Sample]) -> bool:
    found = summarise(samples)
    return found.high - found.low <= 2 * TIGHT * found.typical
