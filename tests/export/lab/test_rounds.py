"""Measuring in turns, on a clock that only the contenders move."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
from made_up_lab import Clock, MadeUp

from export.lab import rounds
from export.lab.rounds import FEWEST, FEWEST_OPENINGS, MOST, OPENINGS, Taken, measure


def run(
    clock: Clock, seconds: float, contenders: Mapping[str, MadeUp], **arguments: object
) -> dict[str, Taken]:
    for name, one in contenders.items():
        one.clock_, one.name = clock, name
    return measure(contenders, seconds, clock=clock, **arguments)  # type: ignore[arg-type]


def test_equal_places_are_of_one_round_and_one_opening() -> None:
    taken = run(Clock(), 4.0, {"a": MadeUp(3.0), "b": MadeUp(7.0)})
    a, b = ([sample.opening for sample in taken[name].samples] for name in "ab")
    assert a == b == sorted(a)
    assert set(a) == set(range(OPENINGS))


def test_the_order_is_another_in_each_round_and_the_same_in_each_run() -> None:
    logs = []
    for _ in range(2):
        log: list[str] = []
        run(Clock(), 4.0, {name: MadeUp(100.0, log=log, opens_in=100.0) for name in "abc"})
        logs.append(log)
    assert logs[0] == logs[1]
    turns = ["".join(logs[0][-3 * n : len(logs[0]) - 3 * (n - 1)]) for n in range(1, FEWEST - 2)]
    assert all(sorted(turn) == ["a", "b", "c"] for turn in turns)
    assert len(set(turns)) > 2


def test_time_is_up_after_the_seconds() -> None:
    clock = Clock()
    taken = run(clock, 3.0, {"a": MadeUp(20.0), "b": MadeUp(10.0)})
    assert 3.0 <= clock.now < 3.2
    assert FEWEST < len(taken["a"].samples) < MOST


def test_slow_contenders_get_the_fewest_rounds_and_still_several_openings() -> None:
    clock = Clock()
    taken = run(clock, 1.0, {"a": MadeUp(1500.0, opens_in=0.5)})
    samples = taken["a"].samples
    assert FEWEST <= len(samples) <= FEWEST + FEWEST_OPENINGS
    assert samples[-1].opening + 1 == FEWEST_OPENINGS
    assert clock.now < 40


def test_fast_contenders_end_after_the_most_rounds() -> None:
    clock = Clock()
    taken = run(clock, 1e6, {"a": MadeUp(0.01)})
    assert len(taken["a"].samples) == MOST
    assert clock.now < 2


def test_opening_again_that_takes_too_long_is_done_once() -> None:
    one = MadeUp(10.0, opens_in=50.0)
    taken = run(Clock(), 5.0, {"a": one})
    assert {sample.opening for sample in taken["a"].samples} == {0}
    assert one.openings == 2  # to see what it costs


def test_a_short_call_is_made_twice_and_counted_once() -> None:
    """So that the caches are its own; a long one fills them itself."""
    log: list[str] = []
    slow = rounds.PRELUDE_MS * 2
    taken = run(Clock(), 1.0, {"fast": MadeUp(1.0, log=log), "slow": MadeUp(slow, log=log, opens_in=0.001)})
    assert len(taken["fast"].samples) == len(taken["slow"].samples)
    turns = "".join(name[0] for name in log).split("s")[-FEWEST:-1]
    assert set(turns) <= {"", "ff", "ffff"}


def test_enough_ends_it_after_an_opening() -> None:
    asked: list[int] = []

    def enough(taken: Mapping[str, list[rounds.Sample]]) -> bool:
        asked.append(len(taken["a"]))
        return True

    clock = Clock()
    taken = run(clock, 100.0, {"a": MadeUp(10.0)}, enough=enough)
    assert len(asked) == 1 and len(taken["a"].samples) == asked[0]
    assert taken["a"].samples[-1].opening + 1 == FEWEST_OPENINGS
    assert clock.now < 70


def test_progress_goes_from_nothing_to_one() -> None:
    seen: list[float] = []
    run(Clock(), 2.0, {"a": MadeUp(10.0)}, advance=seen.append)
    assert seen == sorted(seen)
    assert 0 < seen[0] < 0.5
    assert seen[-1] == 1.0


def test_warm_up_ends_when_it_has_settled() -> None:
    taken = run(Clock(), 10.0, {"a": MadeUp(5.0, cold=3)})
    assert taken["a"].stable
    assert taken["a"].warm_up > 3
    assert max(sample.ms for sample in taken["a"].samples) == pytest.approx(5.0)


def test_what_never_settles_is_said() -> None:
    taken = run(Clock(), 2.0, {"a": MadeUp(5.0, shape=lambda calls: math.exp(-calls / 20))})
    assert not taken["a"].stable
