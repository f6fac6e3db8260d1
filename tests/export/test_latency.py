"""Which numbers of the samples are reported, and when measuring stops."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from export.latency import MIN_CPU_RUNS, percentile, summarise, time_calls


def test_percentiles_by_nearest_rank() -> None:
    samples = [float(n) for n in range(100, 0, -1)]
    assert [percentile(samples, share) for share in (0.5, 0.9, 0.95, 0.99, 1.0)] == [50, 90, 95, 99, 100]
    assert percentile([7.0], 0.99) == 7.0


def test_summary() -> None:
    found = summarise([4.0, 1.0, 2.0, 100.0], batch=8, warm_up=3, clock="c", where="w", threads=2)
    assert (found.median_ms, found.p99_ms, found.runs) == (3.0, 100.0, 4)
    assert found.images_per_second == pytest.approx(8 / 0.003)


def test_no_samples_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        summarise([], batch=1, warm_up=0, clock="c", where="w")


def ticking(seconds_per_call: float) -> tuple[Callable[[], None], Callable[[], float]]:
    now = [0.0]

    def call() -> None:
        now[0] += seconds_per_call

    return call, lambda: now[0]


def test_fast_calls_get_all_their_runs() -> None:
    call, clock = ticking(0.01)
    samples = time_calls(call, clock=clock)
    assert len(samples) == MIN_CPU_RUNS and samples[0] == pytest.approx(10.0)


def test_slow_calls_stop_at_the_budget_but_are_measured_once() -> None:
    call, clock = ticking(4.0)
    assert len(time_calls(call, clock=clock, budget_seconds=20)) == 3
    call, clock = ticking(1000.0)
    assert len(time_calls(call, clock=clock, budget_seconds=20)) == 1
