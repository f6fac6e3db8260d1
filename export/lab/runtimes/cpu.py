"""Timing calls by this machine's clock."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable

from export.lab.rounds import Sample


def timed(call: Callable[[], object], count: int) -> list[Sample]:
    """`count` calls one by one, each until its result is there; `call` must wait for it."""

    def milliseconds() -> float:
        start = time.perf_counter()
        call()
        return 1e3 * (time.perf_counter() - start)

    return watched(milliseconds, count)


def watched(measure: Callable[[], float], count: int) -> list[Sample]:
    """`count` samples of what `measure` says, in milliseconds. A sample is disturbed if the system took a
    processor away meanwhile; on a GPU too, as the one that launches its kernels must not stop."""
    found = []
    for _ in range(count):
        before = _taken_away()
        ms = measure()
        found.append(Sample(ms, _taken_away() > before))
    return found


def _taken_away() -> int:
    """How often the system has taken a processor from this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
