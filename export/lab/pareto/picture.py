"""The picture of accuracy against latency, for paper: matplotlib, one panel for each series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from export.lab.pareto.accuracies import family
from export.lab.pareto.front import front, plain
from export.lab.pareto.labels import Box, around, place
from export.lab.pareto.style import SHAPES, style
from export.lab.pareto.timings import Point, by_series

#: More panels than this nobody reads; the page has all series.
MOST_PANELS = 4
_PANEL = (11.0, 6.6)  # inches
_MUTED, _LINE, _TEXT = "#566070", "#d9dee5", "#1b222c"
_NAME, _MARK = 7.0, 6.5  # size of names and marks in points


def draw(figure: Any, points: Sequence[Point], note: str) -> None:
    """
    Args:
      figure: of matplotlib, empty.
      points: measured; the largest series are drawn.
      note: the line of sources below.
    """
    series = by_series(points)
    shown = list(series.items())[:MOST_PANELS]
    if len(series) > len(shown):
        note = f"{note} {len(series) - len(shown)} more series are in the page."
    figure.set_size_inches(_PANEL[0], _PANEL[1] * len(shown) + 0.5)
    panels = figure.subplots(len(shown), 1, squeeze=False)[:, 0]
    for axes, (one, group) in zip(panels, shown, strict=True):
        axes.set_title(f"{one}, on {one.machine}", loc="left", fontsize=11, fontweight="bold", color=_TEXT)
        _panel(axes, group)
    _legend(figure, panels[0], points)
    figure.supxlabel(note, fontsize=8, color=_MUTED)
    figure.draw_without_rendering()  # only now it is known where points are in pixels
    for axes, (_, group) in zip(panels, shown, strict=True):
        _names(figure, axes, group)


def _panel(axes: Any, group: Sequence[Point]) -> None:
    axes.set_xscale("log")
    axes.grid(color=_LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    _stairs(axes, front(plain(group)), "-")
    _stairs(axes, front(group), (0, (5, 3)))
    for point in group:
        one, timing = style(family(point.accuracy.model)), point.timing
        filled = point.plain
        if timing.low is not None and timing.high is not None:
            axes.plot(
                [timing.low, timing.high], [point.accuracy.top1] * 2, color=one.light, linewidth=1, zorder=2
            )
        axes.plot(
            timing.ms, point.accuracy.top1, SHAPES[one.shape], color=one.light, markersize=_MARK,
            markerfacecolor=one.light if filled else "white", markeredgewidth=0.6 if filled else 1.3,
            markeredgecolor="white" if filled else one.light, zorder=3,
        )  # fmt: skip
    low, high = axes.get_xlim()
    axes.set_xlim(low / 1.12, high * 1.12)
    bottom, top = axes.get_ylim()
    axes.set_ylim(bottom - 0.3, top + 0.3)
    _ticks(axes)
    batch = group[0].timing.series.batch
    axes.set_xlabel(f"latency of one call ({batch} image{'s' if batch > 1 else ''}), ms, logarithmic")
    axes.set_ylabel("published ImageNet-1k top-1, %")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _ticks(axes: Any) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _stairs(axes: Any, best: Sequence[Point], line: Any) -> None:
    xs = [point.timing.ms for point in best]
    ys = [point.accuracy.top1 for point in best]
    axes.step([*xs, 1.1 * max(point for point in (*xs, 1e-9))], [*ys, ys[-1]], where="post", color=_TEXT,
              linewidth=1, linestyle=line, alpha=0.55, zorder=1) if best else None  # fmt: skip


def _legend(figure: Any, axes: Any, points: Sequence[Point]) -> None:
    from matplotlib.lines import Line2D

    handles = []
    for one in dict.fromkeys(family(point.accuracy.model) for point in points):
        look = style(one)
        handles.append(
            Line2D([], [], marker=SHAPES[look.shape], color=look.light, linestyle="", markersize=6, label=one)
        )
    grey = {"marker": "o", "linestyle": "", "markersize": 6}
    handles += [
        Line2D([], [], color=_TEXT, label="filled: ImageNet-1k alone", **grey),
        Line2D([], [], color=_TEXT, markerfacecolor="white", label="hollow: more help in training", **grey),
        Line2D([], [], color=_TEXT, alpha=0.55, linewidth=1, label="front of filled points"),
        Line2D([], [], color=_TEXT, alpha=0.55, linewidth=1, linestyle=(0, (5, 3)), label="front of all"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=6, fontsize=8, frameon=False)


def _names(figure: Any, axes: Any, group: Sequence[Point]) -> None:
    """Names of the fronts first; each network once, at the point that says most."""
    wanted = _one_each([*front(group), *front(plain(group)), *plain(group), *group])
    scale = figure.dpi / 72
    pixels = [tuple(axes.transData.transform((p.timing.ms, p.accuracy.top1))) for p in wanted]
    marks = [axes.transData.transform((p.timing.ms, p.accuracy.top1)) for p in group]
    frame = axes.get_window_extent()
    texts = [
        axes.annotate(p.name, (0, 0), xycoords="figure pixels", fontsize=_NAME, va="bottom", zorder=4,
                      color=style(family(p.accuracy.model)).light)
        for p in wanted
    ]  # fmt: skip
    extents = [text.get_window_extent(figure.canvas.get_renderer()) for text in texts]
    boxes = place(
        pixels,
        [(extent.width + 1.5 * scale, extent.height) for extent in extents],
        [around(x, y, 0.62 * _MARK * scale) for x, y in marks],
        Box(frame.x0, frame.y0, frame.x1, frame.y1),
        scale,
    )
    for text, box, point, pixel in zip(texts, boxes, wanted, pixels, strict=True):
        text.remove()
        if box is None:
            continue
        at = (point.timing.ms, point.accuracy.top1)
        corner = ((box.left - pixel[0]) / scale, (box.bottom - pixel[1]) / scale)
        far = abs(corner[1]) > 2.2 * _NAME or corner[0] > 2 * _NAME
        axes.annotate(
            point.name, at, xytext=corner, textcoords="offset points", fontsize=_NAME, va="bottom", zorder=4,
            color=style(family(point.accuracy.model)).light,
            arrowprops={"arrowstyle": "-", "color": _MUTED, "linewidth": 0.5, "shrinkB": 3} if far else None,
            bbox={"boxstyle": "square,pad=0.05", "facecolor": "white", "edgecolor": "none", "alpha": 0.8},
        ).set_in_layout(False)  # fmt: skip


def _one_each(points: Sequence[Point]) -> list[Point]:
    first: dict[str, Point] = {}
    for point in points:
        first.setdefault(point.name, point)
    return list(first.values())
