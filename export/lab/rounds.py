"""Measuring in turns: whatever slows the machine slows all that are compared."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

#: Warm-up ends when the medians of two windows of calls in a row differ by less than this...
STABLE = 0.03
WINDOW = 5
#: ...or after this many windows, or this share of the time: then the record says that it was not stable.
MOST_WINDOWS = 20
WARM_UP_SHARE = 0.3
#: Fewer rounds than this have no percentiles worth the name; more than MOST say nothing new.
FEWEST, MOST = 12, 400


@dataclass(frozen=True)
class Sample:
    """Milliseconds of one call; `disturbed`: the system took a processor away meanwhile."""

    ms: float
    disturbed: bool = False


class Ready(Protocol):
    """Something loaded and compiled that only needs to be called."""

    clock: str  # what `sample` reads: "perf_counter" or "CUDA events"
    memory: Mapping[str, int]  # bytes, by what they are

    def sample(self, count: int = 1) -> list[Sample]:
        """Times `count` calls one by one."""
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
    seed: int = 0,
) -> dict[str, Taken]:
    """Calls all in turns, in a new random order each round, until `enough` or `seconds` are over.

    Args:
      ready: by name.
      seconds: for all together, warm-up included; FEWEST rounds are made whatever they take.
      enough: asked after each round beyond FEWEST, with the samples so far.
      advance: told the share of the time that is over, for a progress bar.
    """
    start = time.perf_counter()
    warmed = {name: _warm_up(one, WARM_UP_SHARE * seconds / len(ready)) for name, one in ready.items()}
    taken: dict[str, list[Sample]] = {name: [] for name in ready}
    order, shuffle = list(ready), random.Random(seed).shuffle
    for done in range(1, MOST + 1):
        shuffle(order)
        for name in order:
            taken[name] += ready[name].sample()
        past = time.perf_counter() - start
        advance(min(1.0, max(past / seconds, done / MOST)))
        if done >= FEWEST and (past > seconds or enough(taken)):
            break
    advance(1.0)
    return {name: Taken(tuple(samples), *warmed[name]) for name, samples in taken.items()}


def _warm_up(one: Ready, seconds: float) -> tuple[int, bool]:
    """(calls made, whether they settled)."""
    start, before = time.perf_counter(), None
    for window in range(1, MOST_WINDOWS + 1):
        times = sorted(sample.ms for sample in one.sample(WINDOW))
        median = times[len(times) // 2]
        if before is not None and abs(median - before) <= STABLE * before:
            return window * WINDOW, True
        before = median
        if time.perf_counter() - start > seconds:
            return window * WINDOW, False
    return MOST_WINDOWS * WINDOW, False
