"""Who is on the Pareto front: networks that nothing else beats in accuracy without taking longer."""

from __future__ import annotations

from collections.abc import Iterable

from export.lab.pareto.timings import Point


def front(points: Iterable[Point]) -> list[Point]:
    """By ascending latency, and so by ascending accuracy. Of points that are alike, the first."""
    best: list[Point] = []
    for point in sorted(points, key=lambda point: (point.timing.ms, -point.accuracy.top1)):
        if not best or point.accuracy.top1 > best[-1].accuracy.top1:
            best.append(point)
    return best


def plain(points: Iterable[Point]) -> list[Point]:
    """Those trained on ImageNet-1k images and labels alone."""
    return [point for point in points if point.plain]


def nearly(points: Iterable[Point], slack: float) -> list[Point]:
    """Those off the front that would be on it if they took less time by the share `slack`: where times are no
    surer than that, nobody can tell."""
    every = list(points)
    best = front(every)
    return [
        point
        for point in sorted(every, key=lambda point: point.timing.ms)
        if point not in best and not any(_beats(other, point, slack) for other in best)
    ]


def _beats(one: Point, other: Point, slack: float) -> bool:
    """Surely: the same network in another training takes exactly as long."""
    sooner = one.timing is other.timing or one.timing.ms <= other.timing.ms * (1 - slack)
    return sooner and one.accuracy.top1 >= other.accuracy.top1
