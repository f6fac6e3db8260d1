"""Finding the rung of a ladder whose latency is that of the budget, in few probes, as each is expensive.

What is searched is log(latency / budget) against log(factor), which is nearly a straight line: a secant finds
the budget in two or three probes. Measured latency is noisy, has plateaus and now and then a step down, so
that the search keeps a bracket as soon as it has one, halves it when the secant stays on one side, and
promises no more than the best rung that it measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from export.lab.calibrate_knobs import Ladder

#: Probes of one knob.
MOST_PROBES = 8
#: A step without a bracket changes the factor by no more than this: slopes are guesses there.
FARTHEST = 2.0
#: Believable slopes of log(latency) against log(factor); less is a plateau, left by the farthest step.
FLAT, STEEP = 0.3, 3.0
#: Secants inside a bracket, after which it is halved.
SECANTS = 2

FOUND, TOO_COARSE, OUT_OF_RANGE, OUT_OF_PROBES = "found", "too coarse", "out of range", "out of probes"


@dataclass(frozen=True)
class Found:
    """`place` of the best rung that was measured, its `ratio` to the budget, and how the search ended:

    found         within the aim
    too coarse    two neighbours on both sides of the budget, none within the aim
    out of range  the last rung is still on the same side
    out of probes
    """

    place: int
    ratio: float
    end: str


def search(
    ladder: Ladder,
    probe: Callable[[int], float],
    aim: float,
    known: Mapping[int, float] | None = None,
    most: int = MOST_PROBES,
) -> Found:
    """Looks for a rung whose ratio is 1 within `aim`.

    Args:
      probe: place on the ladder -> latency over budget; each place is probed once at most.
      aim: 0.02 for 2 %.
      known: ratios that are known already.
    """
    ratios = dict(known or {})
    if not ratios:
        ratios[ladder.start] = probe(ladder.start)
    secants = 0
    for left in range(most, -1, -1):
        best = min(ratios, key=lambda place: abs(math.log(ratios[place])))
        if abs(ratios[best] - 1) <= aim:
            return Found(best, ratios[best], FOUND)
        pair = _bracket(ratios)
        if pair and pair[1] - pair[0] == 1:
            beside = _beside(ladder, ratios, *pair, aim)
            if beside is None:
                return Found(best, ratios[best], TOO_COARSE)
            place = beside
        elif pair:
            place = _between(ladder, ratios, *pair, halve=secants >= SECANTS)
            secants += 1
        else:
            place = _outwards(ladder, ratios)
            if place in ratios:
                return Found(best, ratios[best], OUT_OF_RANGE)
        if left:
            ratios[place] = probe(place)
    return Found(best, ratios[best], OUT_OF_PROBES)


def _bracket(ratios: Mapping[int, float]) -> tuple[int, int] | None:
    """The narrowest pair of places with the faster one below the slower one."""
    pairs = [
        (low, high) for low in ratios for high in ratios if low < high and ratios[low] < 1 <= ratios[high]
    ]
    return min(pairs, key=lambda pair: pair[1] - pair[0]) if pairs else None


def _between(ladder: Ladder, ratios: Mapping[int, float], low: int, high: int, halve: bool) -> int:
    """Where a line through the two meets the budget, or the middle."""
    if halve:
        return (low + high) // 2
    (x0, y0), (x1, y1) = (_point(ladder, ratios, place) for place in (low, high))
    return min(max(_nearest(ladder, x0 - y0 * (x1 - x0) / (y1 - y0)), low + 1), high - 1)


def _beside(ladder: Ladder, ratios: Mapping[int, float], low: int, high: int, aim: float) -> int | None:
    """A place to probe where two neighbours are on both sides of the budget though a step between them should
    be smaller than the aim: one of them is odd, or noise is in the way, and the next one may do.

    None where steps are large, or all near ones were tried."""
    (x0, _), (x1, _) = (_point(ladder, ratios, place) for place in (low, high))
    step = (x1 - x0) * ladder.slope
    if step > aim:
        return None
    near = [
        (abs(math.log(ratios[edge]) + way * step), place)
        for edge, way in ((low, -1), (high, 1))
        for place in (edge + way,)
        if 0 <= place < len(ladder.rungs) and place not in ratios
    ]
    return min(near)[1] if near else None


def _outwards(ladder: Ladder, ratios: Mapping[int, float]) -> int:
    """Further up if all that is known is too fast, else further down; the same place again at the end of the
    ladder."""
    up = max(ratios.values()) < 1
    edge = max(ratios) if up else min(ratios)
    x, y = _point(ladder, ratios, edge)
    slope, farthest = _slope(ladder, ratios), math.log(FARTHEST)
    step = min(max(-y / slope, -farthest), farthest) if slope > FLAT else math.copysign(farthest, -y)
    place = _nearest(ladder, x + step)
    return min(max(place, edge + 1), len(ladder.rungs) - 1) if up else max(min(place, edge - 1), 0)


def _slope(ladder: Ladder, ratios: Mapping[int, float]) -> float:
    """Between the two ends of what is known; the guess of the knob where only one place is."""
    first, last = min(ratios), max(ratios)
    if first == last:
        return ladder.slope
    (x0, y0), (x1, y1) = (_point(ladder, ratios, place) for place in (first, last))
    return min((y1 - y0) / (x1 - x0), STEEP)


def _point(ladder: Ladder, ratios: Mapping[int, float], place: int) -> tuple[float, float]:
    return math.log(ladder.rungs[place].factor), math.log(ratios[place])


def _nearest(ladder: Ladder, x: float) -> int:
    return min(range(len(ladder.rungs)), key=lambda place: abs(math.log(ladder.rungs[place].factor) - x))
