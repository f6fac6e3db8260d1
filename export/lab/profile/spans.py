"""Time on the clock of operations that run at once: each gets its part of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """Operation `name` ran from `start` to `end`, in any one unit."""

    name: str
    start: float
    end: float


def parts(spans: Iterable[Span]) -> dict[str, float]:
    """Name -> time. While n operations run, each is given 1/n of the time, so that the sum is the time in
    which anything ran at all."""
    given: dict[str, float] = {}
    edges: list[tuple[float, bool, Span]] = []
    for span in spans:
        given.setdefault(span.name, 0.0)
        edges += [(span.start, True, span), (span.end, False, span)]
    running: dict[int, Span] = {}
    before = 0.0
    for moment, begins, span in sorted(edges, key=lambda edge: (edge[0], edge[1])):
        for one in running.values():
            given[one.name] += (moment - before) / len(running)
        before = moment
        if begins:
            running[id(span)] = span
        else:
            running.pop(id(span), None)
    return given
