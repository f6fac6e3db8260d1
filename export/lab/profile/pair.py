"""Calls with and without a profiler, in turns: what the profiler costs, on whatever else the machine does."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from export.lab.rounds import Sample

WARM_UP, FEWEST, MOST = 3, 5, 60


@dataclass(frozen=True)
class Pair:
    """Milliseconds of calls without and with the profiler; `warm_up`: profiled calls before these."""

    plain: tuple[float, ...]
    profiled: tuple[float, ...]
    warm_up: int = WARM_UP

    @property
    def latency_ms(self) -> float:
        return statistics.median(self.plain)

    @property
    def profiled_ms(self) -> float:
        return statistics.median(self.profiled)


def alternate(
    plain: Callable[[int], list[Sample]],
    profiled: Callable[[int], list[Sample]],
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> Pair:
    """One call of each in turns for `seconds`, between FEWEST and MOST of each; each is warmed up before."""
    plain(WARM_UP)
    profiled(WARM_UP)
    end = clock() + seconds
    without: list[float] = []
    having: list[float] = []
    while len(having) < FEWEST or (len(having) < MOST and clock() < end):
        without += [sample.ms for sample in plain(1)]
        having += [sample.ms for sample in profiled(1)]
    return Pair(tuple(without), tuple(having))
