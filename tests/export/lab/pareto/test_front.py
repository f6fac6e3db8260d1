"""The Pareto front against its definition, and what is said of it."""

import itertools
import random

import pytest
from pareto_points import points, whole

from export.lab.pareto import stored, words
from export.lab.pareto.accuracies import PLAIN, Accuracy, accuracies
from export.lab.pareto.front import front, nearly, plain
from export.lab.pareto.timings import Point, by_series, join


def made(*pairs: tuple[float, float]) -> list[Point]:
    """Points of (milliseconds, top-1)."""
    found = []
    for place, (ms, top1) in enumerate(pairs):
        (timing,) = stored.timings([whole("swin_t", 224, ms, spread=0.0)])
        found.append(Point(Accuracy("swin_t", 224, PLAIN, top1, f"source {place}"), timing))
    return found


def pairs(found: list[Point]) -> list[tuple[float, float]]:
    return [(round(point.timing.ms, 6), point.accuracy.top1) for point in found]


def test_front_of_a_few() -> None:
    assert pairs(front(made((3, 80), (1, 70), (2, 69), (4, 80), (5, 82)))) == [(1, 70), (3, 80), (5, 82)]
    assert front([]) == []


def test_alike_points_give_one() -> None:
    assert len(front(made((1, 70), (1, 70)))) == 1
    assert pairs(front(made((1, 70), (1, 71)))) == [(1, 71)]


def test_front_is_what_nothing_dominates() -> None:
    draw = random.Random(3)
    some = made(*[(draw.randint(1, 9), draw.randint(70, 79)) for _ in range(14)])
    dominated = {
        pair
        for pair, other in itertools.product(pairs(some), repeat=2)
        if other != pair and other[0] <= pair[0] and other[1] >= pair[1]
    }
    assert set(pairs(front(some))) == set(pairs(some)) - dominated


def test_nearly_names_those_that_the_measurement_cannot_tell_from_the_front() -> None:
    some = made((1.0, 70), (2.0, 80), (2.02, 80), (2.5, 79))
    assert pairs(nearly(some, 0.05)) == [(2.02, 80)]
    assert nearly(some, 0.001) == []


def test_another_training_of_the_same_network_is_not_nearly_on_the_front() -> None:
    found = join(accuracies(), stored.timings([whole("resnet50", 224, 5.0)]))
    assert len(found) == 4
    assert nearly(found, 0.5) == []


def test_paragraphs_name_front_numbers_and_who_is_missing() -> None:
    measured = [p for p in points() if p.timing.series.data == "measured"]
    drift = {next(iter(by_series(measured))): 0.031}
    text = words.paragraphs(measured, drift, {"trt_vit_c": "reconstruction"})
    for series, group in by_series(measured).items():
        (paragraph,) = [one for one in text.split("\n\n") if one.startswith(f"**{series}**")]
        best = front(plain(group))
        assert f"of {len(plain(group))} networks trained on ImageNet-1k alone, {len(best)} are" in paragraph
        for point in best:
            assert f"{point.name} ({point.accuracy.top1:.1f} %, {point.timing.ms:.3g} ms)" in paragraph
    assert text.count("differs by up to 3.1 %") == 1
    assert "trt_vit_c" in text


def test_drift_is_of_several_heats() -> None:
    one, two, *_ = by_series(points())
    assert words.drifts({one: [10.0, 11.0, 10.5], two: [4.0]}) == {one: pytest.approx(0.1)}
