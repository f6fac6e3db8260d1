"""The picture shows all points, its fronts and its source, and names do not cover each other."""

import itertools
from pathlib import Path

import pytest
from pareto_points import points

from export.lab.pareto import picture
from export.lab.pareto.style import SHAPES, style
from export.lab.pareto.timings import Point, by_series

pytest.importorskip("matplotlib")
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text


def drawn(some: list[Point]) -> Figure:
    figure = Figure(figsize=(11, 6), dpi=80, layout="constrained")
    FigureCanvasAgg(figure)
    picture.draw(figure, some, "as published")
    return figure


@pytest.fixture(scope="module")
def measured() -> list[Point]:
    return [point for point in points() if point.timing.series.data == "measured"]


def test_a_panel_for_each_series_with_all_its_points(measured: list[Point], tmp_path: Path) -> None:
    groups = list(by_series(measured).items())[:2]
    figure = drawn([point for _, group in groups for point in group])
    figure.savefig(tmp_path / "picture.png")
    assert len(figure.axes) == 2
    for axes, (series, group) in zip(figure.axes, groups, strict=True):
        assert str(series) in axes.get_title(loc="left")
        marks = [line for line in axes.lines if line.get_marker() not in (None, "", "None", " ")]
        assert len(marks) == len(group)
        assert "ms" in axes.get_xlabel() and "%" in axes.get_ylabel()
        low, high = axes.get_xlim()
        assert all(low < point.timing.ms < high for point in group)


def test_names_do_not_cover_each_other(measured: list[Point]) -> None:
    figure = drawn(next(iter(by_series(measured).values())))
    figure.draw_without_rendering()
    (axes,) = figure.axes
    boxes = [Text.get_window_extent(text) for text in axes.texts]  # without the line to the point
    assert len(boxes) > 30
    shrunk = [box.padded(-1.0) for box in boxes]  # edges may touch
    assert not any(a.overlaps(b) for a, b in itertools.combinations(shrunk, 2))


def test_more_series_than_panels_are_told(measured: list[Point]) -> None:
    groups = by_series(measured)
    assert len(groups) == picture.MOST_PANELS
    figure = drawn(points())  # with the published ones
    assert len(figure.axes) == picture.MOST_PANELS
    assert "3 more series are in the page" in figure.get_supxlabel()


def test_no_two_families_look_alike() -> None:
    from export.lab.pareto.accuracies import FAMILIES, accuracies, family

    plotted = {family(one.model) for one in accuracies()}
    assert plotted <= set(FAMILIES.values())
    looks = {(style(name).light, style(name).shape) for name in plotted}
    assert len(looks) == len(plotted)
    assert {shape for _, shape in looks} <= set(SHAPES)
    assert style("a family of next year").shape == "circle"
