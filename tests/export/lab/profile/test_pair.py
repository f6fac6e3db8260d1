"""Calls with and without a profiler, on a clock that only they move."""

import pytest
from made_up_lab import Clock, MadeUp

from export.lab.profile.pair import FEWEST, MOST, WARM_UP, alternate


@pytest.mark.parametrize(("seconds", "calls"), [(0.001, FEWEST), (0.3, 10), (1000.0, MOST)])
def test_calls_take_turns(seconds: float, calls: int) -> None:
    clock, log = Clock(), []
    plain, profiled = (MadeUp(ms, clock, name, log=log) for name, ms in (("plain", 10.0), ("profiled", 20.0)))
    pair = alternate(plain.sample, profiled.sample, seconds, clock)
    assert len(pair.plain) == len(pair.profiled) == calls
    assert (pair.latency_ms, pair.profiled_ms, pair.warm_up) == (10.0, 20.0, WARM_UP)
    assert log == ["plain"] * WARM_UP + ["profiled"] * WARM_UP + ["plain", "profiled"] * calls
