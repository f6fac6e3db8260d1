"""Two runs as points with crosses of intervals: on the diagonal they agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from export.lab.agree import Agreement, Pair, percent

MEET, APART, FLIPPED = "#2b6cb0", "#d9772b", "#b00020"


def draw(figure: Any, found: Sequence[Agreement], *, reference: str | None) -> None:
    """Fills an empty matplotlib figure and sets its size: a column per runtime; above the ratios of both
    runs, below by how much ratio and time of each contender differ."""
    count = len(found)
    most = max(len(one.pairs) for one in found)
    low = max(2.2, 0.2 * most + 1.0)
    figure.set_size_inches(max(6.0, 6.0 * count), 5.2 + low)
    axes = figure.subplots(2, count, squeeze=False, height_ratios=(4.6, low))
    for place, one in enumerate(found):
        _ratios(axes[0][place], one, reference)
        _spreads(axes[1][place], one)
    figure.suptitle("Two full runs of the same command", x=0.01, ha="left", fontsize=13, fontweight="bold")


def _ratios(ax: Any, one: Agreement, reference: str | None) -> None:
    title = f"{one.runtime}: {percent(one.ratios_meet)} of the ratios' intervals overlap"
    ax.set_title(title, fontsize=10.5, loc="left")
    ax.set_xlabel(f"time / time of {reference or 'the reference'}, first run (log scale)", fontsize=9)
    ax.set_ylabel("second run", fontsize=9)
    if not one.related:
        ax.text(
            0.5, 0.5, "no ratios: the reference was not in both runs", ha="center", transform=ax.transAxes
        )
        return
    ends = [
        (verdict.low, verdict.high)
        for pair in one.related
        for row in (pair.first, pair.second)
        if (verdict := row.verdict) is not None
    ]
    least, largest = 0.9 * min(end[0] for end in ends), 1.1 * max(end[1] for end in ends)
    ax.plot([least, largest], [least, largest], color="#9aa3ad", linewidth=1, zorder=0)
    ax.axhline(1, color="#d5dae0", linewidth=1, zorder=0)
    ax.axvline(1, color="#d5dae0", linewidth=1, zorder=0)
    words = {MEET: "intervals overlap", APART: "intervals are apart", FLIPPED: "verdict flipped"}
    markers = {MEET: "o", APART: "s", FLIPPED: "X"}
    for colour, word in words.items():
        pairs = [pair for pair in one.related if _colour(pair) == colour]
        if not pairs:
            continue
        a = [pair.first.verdict for pair in pairs if pair.first.verdict]
        b = [pair.second.verdict for pair in pairs if pair.second.verdict]
        ax.errorbar(
            [v.ratio for v in a], [v.ratio for v in b],
            xerr=_whiskers(a), yerr=_whiskers(b),
            fmt=markers[colour], markersize=4, color=colour, elinewidth=1, label=f"{word} ({len(pairs)})",
        )  # fmt: skip
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(least, largest)
    ax.set_ylim(least, largest)
    ax.set_aspect("equal")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(lambda value, place: f"{value:g}")
        axis.set_minor_formatter(lambda value, place: f"{value:g}" if f"{value:.0e}"[0] in "25" else "")
    ax.tick_params(which="both", labelsize=8)
    ax.legend(fontsize=8, frameon=False, loc="upper left")


def _spreads(ax: Any, one: Agreement) -> None:
    pairs = sorted(one.pairs, key=lambda pair: pair.time_spread())
    places = range(len(pairs))
    times = [100 * pair.time_spread() for pair in pairs]
    ax.hlines(places, 0, times, color="#d5dae0", linewidth=1, zorder=0)
    ax.plot(times, places, "o", color="#9aa3ad", markersize=4.5, label="absolute time")
    known = [
        (100 * spread, at)
        for at, pair in zip(places, pairs, strict=True)
        if (spread := pair.ratio_spread()) is not None
    ]
    ax.plot(
        [x for x, _ in known],
        [y for _, y in known],
        "D",
        color=MEET,
        markersize=4,
        label="ratio to the reference",
    )
    ax.set_yticks(places, [pair.name for pair in pairs], fontsize=8)
    ax.set_ylim(-0.7, len(pairs) - 0.3)
    ax.set_xlim(0, None)
    ax.set_xlabel("difference between the runs, %", fontsize=9)
    ax.legend(fontsize=8, frameon=False, loc="lower right")
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.tick_params(axis="y", length=0)


def _colour(pair: Pair) -> str:
    return FLIPPED if pair.flipped() else MEET if pair.ratio_meets() else APART


def _whiskers(verdicts: Sequence[Any]) -> list[list[float]]:
    return [[max(0.0, v.ratio - v.low) for v in verdicts], [max(0.0, v.high - v.ratio) for v in verdicts]]
