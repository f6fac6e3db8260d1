"""Which of two sessions is faster? Measured in turns, so that whatever slows the machine slows both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from export.latency import WARM_UP_RUNS

#: Pairs of runs: the median ratio of 15 moves by two or three per cent on a busy machine.
PAIRS = 15
#: Slower by more than this is slower: medians of interleaved runs differ by up to 5 % for the same file.
SLOWER = 1.05
#: Slow models on slow machines stop here, with fewer pairs.
BUDGET_SECONDS = 20.0


def ratio(
    candidate: Callable[[], object],
    other: Callable[[], object],
    *,
    pairs: int = PAIRS,
    budget_seconds: float = BUDGET_SECONDS,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Median of (time of `candidate` / time of `other`) over pairs of calls, the order turned each time."""
    start = clock()
    for _ in range(WARM_UP_RUNS):
        candidate()
        other()
        if clock() - start > budget_seconds / 4:
            break
    found: list[float] = []
    while len(found) < pairs and (not found or clock() - start < budget_seconds):
        order = (candidate, other) if len(found) % 2 else (other, candidate)
        times = {}
        for call in order:
            before = clock()
            call()
            times[call] = clock() - before
        found.append(times[candidate] / times[other])
    return statistics.median(found)
