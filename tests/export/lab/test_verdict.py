"""What samples say, judged by samples whose truth is known."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest
from made_up_lab import Clock, MadeUp

from export.lab.rounds import Sample, measure
from export.lab.verdict import (
    CANNOT_TELL,
    FASTER,
    SLOWER,
    Verdict,
    chain,
    compare,
    decided,
    summarise,
    verdict,
)

#: Simulations, and verdicts among them that chance may give to equals: 5 % are meant, 3 standard deviations
#: above are allowed (the seeds are fixed: this is the same in each run).
TRIALS = 200
ALLOWED = 0.05 + 3 * math.sqrt(0.05 * 0.95 / TRIALS)


def made(
    ms: float, openings: int, rounds: int, draw: random.Random, between: float, within: float
) -> list[Sample]:
    found = []
    for opening in range(openings):
        level = ms * math.exp(draw.gauss(0, between))
        found += [Sample(level * math.exp(abs(draw.gauss(0, within))), False, opening) for _ in range(rounds)]
    return found


def wrong(openings: int, rounds: int, between: float, within: float) -> float:
    """Share of verdicts that are given to two of the same."""
    count = 0
    for seed in range(TRIALS):
        draw = random.Random(seed)
        a, b = (made(10.0, openings, rounds, draw, between, within) for _ in range(2))
        count += compare(a, b).word != CANNOT_TELL
    return count / TRIALS


@pytest.mark.parametrize(("openings", "rounds"), [(8, 2), (8, 20), (4, 3)])
@pytest.mark.parametrize(("between", "within"), [(0.02, 0.01), (0.01, 0.04)])
def test_equals_rarely_get_a_verdict(openings: int, rounds: int, between: float, within: float) -> None:
    assert wrong(openings, rounds, between, within) <= ALLOWED


def test_one_opening_would_not_do() -> None:
    """Why contenders are opened again: the rounds of one session know nothing of the next."""
    assert wrong(1, 40, between=0.02, within=0.01) > 0.3


def test_the_interval_holds_the_truth() -> None:
    ratio, held = 0.9, 0
    for seed in range(TRIALS):
        draw = random.Random(1000 + seed)
        found = compare(made(9.0, 6, 8, draw, 0.01, 0.02), made(10.0, 6, 8, draw, 0.01, 0.02))
        held += found.low <= ratio <= found.high
    assert held / TRIALS >= 1 - ALLOWED


def test_two_full_runs_agree() -> None:
    """Measured twice from the beginning, each run's interval overlaps the other's."""
    apart = 0
    for seed in range(40):
        intervals = []
        for run in range(2):
            clock = Clock()
            ready = {
                name: MadeUp(ms, clock, name, between=0.015, within=0.02, seed=2 * seed + run)
                for name, ms in {"a": 5.0, "b": 6.0}.items()
            }
            taken = measure(ready, 3.0, clock=clock)
            intervals.append(compare(taken["a"].samples, taken["b"].samples))
        apart += intervals[0].high < intervals[1].low or intervals[1].high < intervals[0].low
    assert apart <= 1  # two intervals of 95 % that do not even touch: 0.6 % of pairs


def test_what_slows_both_cancels() -> None:
    """A machine that becomes three times slower, and is disturbed for whole stretches."""
    draw = random.Random(0)
    a, b = [], []
    for place in range(80):
        slow = (1 + place / 40) * (2.0 if place // 5 % 3 == 0 else 1.0)
        a.append(Sample(8.0 * slow * (1 + 0.01 * draw.random()), False, place // 10))
        b.append(Sample(10.0 * slow * (1 + 0.01 * draw.random()), False, place // 10))
    found = compare(a, b)
    assert found.ratio == pytest.approx(0.8, rel=0.01)
    assert found.high - found.low < 0.02
    assert summarise(a).high / summarise(a).low > 1.2  # which the times alone do not


def test_a_few_wild_calls_change_nothing() -> None:
    draw = random.Random(0)
    a, b = (made(ms, 8, 10, draw, 0.0, 0.01) for ms in (9.0, 10.0))
    calm = compare(a, b)
    wild = [Sample(200.0, False, one.opening) if place % 10 == 3 else one for place, one in enumerate(a)]
    found = compare(wild, b)
    assert found.word == FASTER
    assert found.ratio == pytest.approx(calm.ratio, rel=0.01)
    assert summarise(wild).p99 == 200.0  # but they are told


def test_one_opening_that_was_spoilt_changes_little() -> None:
    draw = random.Random(0)
    a, b = (made(ms, 8, 10, draw, 0.005, 0.01) for ms in (9.0, 10.0))
    calm = compare(a, b)
    spoilt = [Sample(one.ms * 3, False, one.opening) if one.opening == 2 else one for one in a]
    found = compare(spoilt, b)
    assert found.word == FASTER
    assert found.ratio == pytest.approx(calm.ratio, rel=0.01)
    assert found.high - found.low < 3 * (calm.high - calm.low)
    assert summarise(spoilt).typical == pytest.approx(summarise(a).typical, rel=0.01)


def test_disturbed_calls_are_left_out() -> None:
    a = [Sample(30.0 if place % 3 == 0 else 10.0, place % 3 == 0, place // 6) for place in range(48)]
    found = summarise(a)
    assert found.clean and found.typical == pytest.approx(10.0) and found.calls == 32
    assert found.median == 10.0 and found.p90 == 30.0


def test_where_nearly_all_were_disturbed_the_lower_quartile_counts() -> None:
    a = [Sample(10.0 + place % 4, place % 4 != 0 or place < 8, place // 8) for place in range(32)]
    found = summarise(a)
    assert not found.clean and found.calls == 32
    assert found.typical == pytest.approx(10.75)  # of 10, 11, 12, 13, twice each opening


@pytest.mark.parametrize(
    ("ratio", "low", "high", "word"),
    [
        (0.9, 0.85, 0.95, FASTER),
        (1.1, 1.05, 1.15, SLOWER),
        (0.9, 0.79, 1.02, CANNOT_TELL),
        (0.995, 0.993, 0.997, CANNOT_TELL),  # surely less, and less than what is worth a word
        (1.005, 1.003, 1.007, CANNOT_TELL),
    ],
)
def test_words(ratio: float, low: float, high: float, word: str) -> None:
    assert verdict(ratio, low, high).word == word


def test_a_chain_of_ratios_is_less_sure_than_each() -> None:
    a, b = verdict(0.5, 0.48, 0.52), verdict(0.8, 0.78, 0.83)
    found = chain(a, b)
    assert found.ratio == pytest.approx(0.625)
    for one in (a, b):
        assert math.log(found.high / found.low) > math.log(one.high / one.low)
    back = chain(b, a)
    assert back.low == pytest.approx(1 / found.high) and back.high == pytest.approx(1 / found.low)


@pytest.mark.parametrize(
    ("ratio", "half", "expected"),
    [(1.0, 0.005, True), (1.0, 0.015, False), (0.8, 0.015, True), (0.8, 0.03, False)],
)
def test_enough_is_known(ratio: float, half: float, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    spread = Verdict(ratio, ratio * math.exp(-half), ratio * math.exp(half), "")
    monkeypatch.setattr("export.lab.verdict.compare", lambda a, b: spread)
    assert decided([], [], 0.01) is expected


@pytest.mark.parametrize(
    "ask",
    [
        lambda: summarise([]),
        lambda: compare([], []),
        lambda: compare([Sample(1.0)], [Sample(1.0), Sample(1.0)]),
        lambda: compare([Sample(1.0, False, 0)], [Sample(1.0, False, 1)]),
    ],
)
def test_samples_that_say_nothing_are_refused(ask: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="sample"):
        ask()
