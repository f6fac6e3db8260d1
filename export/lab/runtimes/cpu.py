"""Timing calls that run on this machine's processors."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable

from export.lab.rounds import Sample


def timed(call: Callable[[], object], count: int) -> list[Sample]:
    """`count` calls one by one, each until its result is there; `call` must wait for it."""
    found = []
    for _ in range(count):
        before, start = _taken_away(), time.perf_counter()
        call()
        found.append(Sample(1e3 * (time.perf_counter() - start), _taken_away() > before))
    return found


def _taken_away() -> int:
    """How often the system has taken a processor from this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
