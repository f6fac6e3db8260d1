"""Latency: how it is measured and which numbers of the samples are reported."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

#: Calls before the first that counts: lets allocators, caches and clocks settle.
WARM_UP_RUNS = 5
#: The median of fewer calls than this moves by several per cent between two runs on a busy machine.
MIN_CPU_RUNS = 30
#: CUDA events: calls measured at least; the 99th percentile needs a hundred samples to exist.
MIN_GPU_RUNS = 100
#: A slow model on a slow machine stops here, with fewer calls than asked for; the report says how many.
CPU_BUDGET_SECONDS = 20.0


@dataclass(frozen=True)
class Latency:
    """One measurement; times in milliseconds for one call on `batch` images.

    `clock` names what was read (`perf_counter` or `CUDA events`), `where` on what it ran, `threads` the
    CPU threads the runtime was given (None on a GPU).
    """

    batch: int
    runs: int
    warm_up: int
    median_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    images_per_second: float
    clock: str
    where: str
    threads: int | None = None
    cuda_graph: bool = False

    def as_dict(self) -> dict[str, object]:
        return asdict(self)

    def line(self) -> str:
        threads = f", {self.threads} threads" if self.threads else ""
        graph = ", CUDA graph" if self.cuda_graph else ""
        return (
            f"{self.where}{threads}{graph}, batch {self.batch}: median {self.median_ms:.2f} ms, "
            f"p99 {self.p99_ms:.2f} ms ({self.runs} runs, {self.images_per_second:,.0f} images/s)"
        )


def percentile(samples: Sequence[float], share: float) -> float:
    """The smallest sample that at least `share` (0..1) of the samples do not exceed (nearest rank)."""
    if not samples:
        raise ValueError("no samples: nothing was measured")
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def summarise(
    samples_ms: Sequence[float],
    *,
    batch: int,
    warm_up: int,
    clock: str,
    where: str,
    threads: int | None = None,
    cuda_graph: bool = False,
) -> Latency:
    """Samples in milliseconds -> median and upper percentiles."""
    ordered = sorted(samples_ms)
    middle = len(ordered) // 2
    if not ordered:
        raise ValueError("no samples: nothing was measured")
    median = ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
    return Latency(
        batch=batch,
        runs=len(ordered),
        warm_up=warm_up,
        median_ms=median,
        p90_ms=percentile(ordered, 0.90),
        p95_ms=percentile(ordered, 0.95),
        p99_ms=percentile(ordered, 0.99),
        images_per_second=1000.0 * batch / median,
        clock=clock,
        where=where,
        threads=threads,
        cuda_graph=cuda_graph,
    )


def time_calls(
    call: Callable[[], object],
    *,
    warm_up: int = WARM_UP_RUNS,
    runs: int = MIN_CPU_RUNS,
    budget_seconds: float = CPU_BUDGET_SECONDS,
    clock: Callable[[], float] = time.perf_counter,
) -> list[float]:
    """Milliseconds of each of `runs` calls after `warm_up` uncounted ones; stops early, but never before
    one counted call, when `budget_seconds` have passed (warm-up included)."""
    start = clock()
    for done in range(warm_up):
        call()
        if done and clock() - start > budget_seconds / 4:
            break
    samples: list[float] = []
    while len(samples) < runs and (not samples or clock() - start < budget_seconds):
        before = clock()
        call()
        samples.append(1000.0 * (clock() - before))
    return samples
