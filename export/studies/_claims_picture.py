"""The picture of the study of FastViT's claims: speeds on the left, what can be counted on the right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from export.lab.verdict import Verdict
from export.studies._fastvit import (
    BLUE,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    RED,
    SAND,
    SKY,
    headline,
    legend,
    open_frame,
    spread,
)

TITLE = "FastViT against others: measured here beside the published"
COLOURS = (BLUE, GREEN, ORANGE, SKY, "#CC79A7", "#000000")
MARKERS = "os^vPX"
COUNT_COLOURS = ((SAND, INK), (MUTED, "white"))  # of a bar, and of the number in it
PUBLISHED_MARKERS = "Dvs"
BAND = 0.6  # of the height of a row, over which the runtimes of a pair are spread
BAR = 0.34
LEFT_WIDTH = 1.7  # of the panels: the left one against the right one


@dataclass(frozen=True)
class Row:
    """A pair. `speed`: place -> how many times as fast; `published`: device -> the same; `counts` and
    `published_counts`: what is counted -> the other's over FastViT's."""

    name: str
    speed: Mapping[str, Verdict]
    published: Mapping[str, float]
    counts: Mapping[str, float]
    published_counts: Mapping[str, float]


def draw(figure: Any, rows: Sequence[Row], places: Sequence[str], source: str) -> None:
    figure.set_size_inches(12.5, 2.4 + 0.9 * len(rows) + 0.2 * len(places))
    left, right = figure.subplots(1, 2, width_ratios=(LEFT_WIDTH, 1), sharey=True)
    _speed(left, rows, places)
    _counts(right, rows)
    left.set_yticks(range(len(rows)), [row.name for row in rows], fontsize=9)
    left.set_ylim(len(rows) - 0.45, -0.55)
    headline(figure, TITLE, f"Bars: 95 % intervals. Published: {source}.")


def _speed(axes: Any, rows: Sequence[Row], places: Sequence[str]) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    step = BAND / max(1, len(places))
    for number, place in enumerate(places):
        offset = (number - (len(places) - 1) / 2) * step
        known = [(level + offset, row.speed[place]) for level, row in enumerate(rows) if place in row.speed]
        verdicts = [verdict for _, verdict in known]
        axes.errorbar([one.ratio for one in verdicts], [level for level, _ in known], xerr=spread(verdicts),
                      color=COLOURS[number % len(COLOURS)], marker=MARKERS[number % len(MARKERS)], capsize=3,
                      linestyle="", label=f"measured: {place}")  # fmt: skip
    devices = list(dict.fromkeys(device for row in rows for device in row.published))
    for number, device in enumerate(devices):
        known = [(row.published[device], level) for level, row in enumerate(rows) if device in row.published]
        axes.plot(*zip(*known, strict=True), linestyle="", marker=PUBLISHED_MARKERS[number % 3], markersize=9,
                  fillstyle="none", color=RED, markeredgewidth=1.5, label=f"published: {device}")  # fmt: skip
    axes.axvline(1, color=MUTED, linewidth=0.8)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")
    axes.margins(x=0.1)
    axes.set_xlabel("FastViT is so many times as fast (log)")
    open_frame(axes, grid="x")
    legend(axes, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3)


def _counts(axes: Any, rows: Sequence[Row]) -> None:
    words = list(dict.fromkeys(word for row in rows for word in row.counts))
    for number, (word, (colour, ink)) in enumerate(zip(words, COUNT_COLOURS, strict=False)):
        levels = [level + (number - (len(words) - 1) / 2) * BAR for level in range(len(rows))]
        values = [row.counts[word] for row in rows]
        axes.barh(levels, values, BAR, color=colour, label=word)
        for level, value in zip(levels, values, strict=True):
            axes.annotate(f"{value:.2f}", (0, level), xytext=(5, 0), textcoords="offset points",
                          va="center", fontsize=8, color=ink)  # fmt: skip
        known = [
            (row.published_counts[word], level)
            for row, level in zip(rows, levels, strict=True)
            if word in row.published_counts
        ]
        if known:
            axes.plot(*zip(*known, strict=True), linestyle="", marker="D", markersize=8, fillstyle="none",
                      color=RED, markeredgewidth=1.5, label="published" if number == 0 else None)  # fmt: skip
    axes.axvline(1, color=MUTED, linewidth=0.8)
    axes.margins(x=0.15)
    axes.set_xlabel("the other has so many times FastViT's")
    open_frame(axes, grid="x")
    legend(axes, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3)
