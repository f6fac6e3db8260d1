"""Measuring in turns: whatever slows the machine slows all that are compared.

Each contender is opened several times: the medians of one session differ from those of the next by more than
their rounds suggest, as memory and threads lie elsewhere. Why each number here is what it is:
docs/latency_lab.md.
"""

from __future__ import annotations

import dataclasses
import math
import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

#: After one call that is cold, warm-up ends when the medians of two windows in a row differ by less than
#: this...
STABLE = 0.03
#: ...where a window is this many calls at least, this many milliseconds, and this many calls at most...
WINDOW, WINDOW_MS, WIDEST = 2, 60.0, 100
#: ...or after this many windows, or this share of the time, but not before there are two: then the record
#: says that it was not stable.
MOST_WINDOWS = 20
WARM_UP_SHARE = 0.2
#: Calls are counted in pairs of one that is not and one that is, so that caches and threads are its own,
#: unless a call takes longer than this: then it fills them itself.
PRELUDE_MS = 50.0
#: Openings of each contender, where opening is cheap enough; with fewer than FEWEST_OPENINGS one is as good.
OPENINGS, FEWEST_OPENINGS = 8, 4
#: The share of the time that opening again may take, and how much it may take for FEWEST_OPENINGS.
REOPEN_SHARE, REOPEN_MOST = 0.3, 0.6
#: Rounds of one opening at least; rounds in all: fewer have no percentiles worth the name, more say nothing
#: new.
FEWEST_OF_OPENING, FEWEST, MOST = 2, 12, 400


@dataclass(frozen=True)
class Sample:
    """Milliseconds of one call; `disturbed`: the system took a processor away meanwhile; `opening`: which one
    of the contender's, from 0."""

    ms: float
    disturbed: bool = False
    opening: int = 0


class Ready(Protocol):
    """Something loaded and compiled that only needs to be called."""

    clock: str  # what `sample` reads: "perf_counter" or "CUDA events"
    memory: Mapping[str, int]  # bytes, by what they are

    def sample(self, count: int = 1) -> list[Sample]:
        """Times `count` calls one by one. Raises BuildError if it cannot run."""
        ...

    def reopen(self) -> None:
        """Lets go of buffers, threads and contexts, and takes new ones as a new process would; nothing is
        exported or built again. Raises BuildError if it cannot."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Taken:
    """samples: one a round, in the order of the rounds, so that equal places are neighbours in time.
    warm_up: calls before them; stable: whether these had settled."""

    samples: tuple[Sample, ...]
    warm_up: int
    stable: bool


def measure(
    ready: Mapping[str, Ready],
    seconds: float,
    *,
    enough: Callable[[Mapping[str, list[Sample]]], bool] = lambda taken: False,
    advance: Callable[[float], None] = lambda share: None,
    clock: Callable[[], float] = time.perf_counter,
    seed: int = 0,
) -> dict[str, Taken]:
    """Calls all in turns, in a new random order each round, until `enough` or `seconds` are over.

    Args:
      ready: by name.
      seconds: for all together, warm-up and opening again included; FEWEST rounds are made whatever they
        take.
      enough: asked after each opening from the FEWEST_OPENINGS-th on, with the samples so far.
      advance: told the share of the time that is over, for a progress bar.
      clock: seconds; of the time that is over, not of the samples.
      seed: of the orders.
    """
    start = clock()
    share = WARM_UP_SHARE * seconds / len(ready)
    warmed = {name: _warm_up(one, share, clock) for name, one in ready.items()}
    taken: dict[str, list[Sample]] = {name: [] for name in ready}
    turns = _Turns(ready, {name: one.ms for name, one in warmed.items()}, taken, random.Random(seed).shuffle)
    openings, opening, done = OPENINGS, 0, 0
    while True:
        now = clock()
        until = now + max(0.0, start + seconds - now) / (openings - opening)
        fewest = max(FEWEST_OF_OPENING, math.ceil((FEWEST - done) / (openings - opening)))
        most = max(fewest, (MOST - done) // (openings - opening))
        rounds = 0
        while rounds < fewest or (rounds < most and clock() < until):
            turns.round(opening)
            rounds += 1
            advance(min(1.0, (clock() - start) / seconds))
        opening, done = opening + 1, done + rounds
        if opening >= openings or (opening >= FEWEST_OPENINGS and done >= FEWEST and enough(taken)):
            break
        before = clock()
        turns.reopen()
        if opening == 1:
            takes = max(seconds, FEWEST * (before - now) / rounds)  # what the fewest rounds take anyway
            openings = _affordable(clock() - before, takes)
            if openings == 1:  # it goes on in what was opened again for this, as if it were the same
                opening, openings = 0, 1
    advance(1.0)
    return {name: Taken(tuple(one), warmed[name].calls, warmed[name].stable) for name, one in taken.items()}


def _affordable(cost: float, seconds: float) -> int:
    """How often all can be opened, if once more takes `cost` of the `seconds`."""
    if cost <= 0:
        return OPENINGS
    openings = min(OPENINGS, 1 + int(REOPEN_SHARE * seconds / cost))
    if openings >= FEWEST_OPENINGS:
        return openings
    return FEWEST_OPENINGS if (FEWEST_OPENINGS - 1) * cost <= REOPEN_MOST * seconds else 1


class _Turns:
    """The rounds of one heat; `taken` is what they add to."""

    def __init__(
        self,
        ready: Mapping[str, Ready],
        expected: Mapping[str, float],
        taken: dict[str, list[Sample]],
        shuffle: Callable[[list[str]], None],
    ) -> None:
        self._ready, self._expected, self._taken, self._shuffle = ready, expected, taken, shuffle
        self._order = list(ready)

    def round(self, opening: int) -> None:
        self._shuffle(self._order)
        for name in self._order:
            if self._expected[name] <= PRELUDE_MS:
                self._ready[name].sample()
            (sample,) = self._ready[name].sample()
            self._taken[name].append(dataclasses.replace(sample, opening=opening))

    def reopen(self) -> None:
        """In another order than before, so that each finds memory in another state."""
        self._shuffle(self._order)
        for name in self._order:
            self._ready[name].reopen()
        for name in self._order:
            self._ready[name].sample(WINDOW if self._expected[name] <= PRELUDE_MS else 1)


@dataclass(frozen=True)
class _Warmed:
    calls: int
    stable: bool
    ms: float


def _warm_up(one: Ready, seconds: float, clock: Callable[[], float]) -> _Warmed:
    start, before = clock(), None
    calls, count, median = 1, WINDOW, one.sample()[0].ms
    for window in range(1, MOST_WINDOWS + 1):
        median = statistics.median(sample.ms for sample in one.sample(count))
        calls += count
        if before is not None and abs(median - before) <= STABLE * before:
            return _Warmed(calls, True, median)
        before = median
        if window > 1 and clock() - start > seconds:
            break
        count = min(WIDEST, max(WINDOW, math.ceil(WINDOW_MS / max(median, WINDOW_MS / WIDEST))))
    return _Warmed(calls, False, median)
