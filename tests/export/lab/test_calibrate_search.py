"""The search on latencies that are functions: noisy, flat, stepped, and out of reach."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from export.lab.calibrate_knobs import Ladder, Rung
from export.lab.calibrate_search import (
    FOUND,
    MOST_PROBES,
    OUT_OF_PROBES,
    OUT_OF_RANGE,
    TOO_COARSE,
    Found,
    search,
)

AIM = 0.02
#: Probes that a latency of one slope may cost: extrapolate once, correct once, and one for noise.
FEW = 3


def _ladder(steps: int = 200, low: float = 0.25, high: float = 4.0) -> Ladder:
    """Factors in a geometric row; 1 is in the middle."""
    ratio = (high / low) ** (1 / steps)
    rungs = tuple(Rung(low * ratio**place, {}) for place in range(steps + 1))
    return Ladder("width", rungs, steps // 2, 1.6)


class _Probe:
    """Ratio as a function of the factor; remembers which places it was asked for."""

    def __init__(self, ladder: Ladder, ratio: Callable[[float], float]):
        self._ladder, self._ratio, self.places = ladder, ratio, list[int]()

    def __call__(self, place: int) -> float:
        assert place not in self.places, "probed twice"
        self.places.append(place)
        return self._ratio(self._ladder.rungs[place].factor)


def _search(ladder: Ladder, ratio: Callable[[float], float]) -> tuple[Found, list[int]]:
    probe = _Probe(ladder, ratio)
    return search(ladder, probe, AIM), probe.places


@pytest.mark.parametrize("slope", [0.7, 1.0, 1.5, 2.0])
@pytest.mark.parametrize("start", [0.5, 0.8, 0.95, 1.3, 2.0])
def test_a_straight_line_takes_few_probes(start: float, slope: float) -> None:
    found, places = _search(_ladder(), lambda factor: start * factor**slope)
    assert found.end == FOUND
    assert abs(found.ratio - 1) <= AIM
    assert len(places) <= 1 + FEW


@pytest.mark.parametrize("seed", range(20))
def test_noise_of_one_per_cent(seed: int) -> None:
    draw, ladder = random.Random(seed), _ladder()
    found, places = _search(ladder, lambda factor: 1.6 * factor**1.4 * math.exp(draw.gauss(0, 0.01)))
    assert found.end == FOUND
    true = 1.6 * ladder.rungs[found.place].factor ** 1.4
    assert abs(true - 1) <= AIM + 3 * 0.01  # three deviations of the noise
    assert len(places) <= MOST_PROBES


def test_what_is_known_is_not_probed() -> None:
    ladder = _ladder()
    found = search(ladder, _Probe(ladder, lambda factor: 2.0), AIM, {ladder.start: 1.01})
    assert found == Found(ladder.start, 1.01, FOUND)


def test_plateaus() -> None:
    """Latency jumps by 3 % every ten rungs and is flat in between."""

    def ratio(factor: float) -> float:
        return 1.4 * 1.03 ** round(20 * math.log2(factor))

    found, _ = _search(_ladder(), ratio)
    assert found.end == FOUND


def test_steps_down_on_the_way() -> None:
    """Every other rung is 4 % faster than it should be, as widths that suit the kernels are."""
    ladder = _ladder()
    places = {rung.factor: place for place, rung in enumerate(ladder.rungs)}
    found, _ = _search(ladder, lambda factor: 1.8 * factor**1.3 * (0.96 if places[factor] % 2 else 1))
    assert found.end == FOUND


def test_a_jump_over_the_budget_is_too_coarse() -> None:
    found, _ = _search(_ladder(), lambda factor: 0.85 * factor**0.5 if factor < 1.2 else 1.3 * factor**0.5)
    assert found.end == TOO_COARSE
    assert found.ratio == pytest.approx(0.85 * 1.2**0.5, rel=0.02)  # the nearer side


def test_beside_an_odd_step_the_next_rungs_are_tried() -> None:
    """Rungs of 1.4 % but for one jump of 6 % at the budget, and a rung above it that is fast again."""
    ladder = _ladder()
    odd = ladder.start + 12

    def ratio(factor: float) -> float:
        place = min(range(len(ladder.rungs)), key=lambda at: abs(ladder.rungs[at].factor - factor))
        return 1.0 if place == odd + 1 else 0.97 - 0.001 * (odd - place) if place < odd else 1.035

    found, _ = _search(ladder, ratio)
    assert (found.place, found.end) == (odd + 1, FOUND)


def test_few_rungs_are_too_coarse() -> None:
    found, places = _search(_ladder(steps=6), lambda factor: 0.8 * factor)
    assert found.end == TOO_COARSE
    assert len(places) == 2


@pytest.mark.parametrize(("start", "last"), [(40.0, 0), (0.02, 200)])
def test_out_of_range_at_either_end(start: float, last: int) -> None:
    found, places = _search(_ladder(), lambda factor: start * factor)
    assert (found.place, found.end) == (last, OUT_OF_RANGE)
    assert len(places) < MOST_PROBES


def test_latency_that_does_not_follow_the_knob_is_out_of_range() -> None:
    found, _ = _search(_ladder(), lambda factor: 1.5)
    assert found.end == OUT_OF_RANGE


def test_probes_are_limited() -> None:
    ladder = _ladder()
    probe = _Probe(ladder, lambda factor: 1.5 * factor)
    found = search(ladder, probe, AIM, {ladder.start: 1.5}, most=0)
    assert (found.end, probe.places) == (OUT_OF_PROBES, [])


def test_a_plateau_is_left_and_a_steep_side_is_halved() -> None:
    """A latency that hardly moves and then rises steeply draws secants to the flat side."""

    def ratio(factor: float) -> float:
        return 0.9 + 0.01 * factor if factor < 3 else 0.9 + 0.03 * (factor - 2) ** 3

    found, _ = _search(_ladder(), ratio)
    assert found.end == FOUND
