"""The bench as bars: a panel per runtime and setting, from fast to slow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from export.lab.bench_rows import Row, groups, label, place, setting_words, size
from export.lab.verdict import CANNOT_TELL, FASTER, SLOWER

#: Blue and orange are told apart by colour-blind people, too; the order says the same once more.
COLOURS = {FASTER: "#2b6cb0", SLOWER: "#d9772b", CANNOT_TELL: "#9aa3ad"}
REFERENCE_COLOUR = "#1b2330"
_LINE, _FRAME = 0.21, 1.5  # inches of a bar, and of a panel's title and axis


def draw(figure: Any, found: Sequence[Row], *, title: str) -> None:
    """Fills an empty matplotlib figure and sets its size."""
    panels = list(groups(found).values())
    columns = min(2, len(panels))
    lines = -(-len(panels) // columns)
    heights = [
        _FRAME + _LINE * max(len(panel) for panel in panels[line * columns : (line + 1) * columns])
        for line in range(lines)
    ]
    figure.set_size_inches(6.6 * columns, sum(heights) + 0.8)
    axes = figure.subplots(lines, columns, squeeze=False, height_ratios=heights)
    for place_of, ax in enumerate(axes.flat):
        if place_of < len(panels):
            _panel(ax, panels[place_of])
        else:
            ax.axis("off")
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    figure.supxlabel(
        "bars: typical time of a call, whisker: its 95 % interval, in brackets: ratio to "
        f"{found[0].reference}; "
        f"{'; '.join(dict.fromkeys(place(row.record) for row in found))}; {_dates(found)}",
        fontsize=7.5,
        color="#5d6878",
    )


def _panel(ax: Any, rows: Sequence[Row]) -> None:
    from matplotlib.patches import Patch

    times = [row.summary.typical for row in rows]
    sizes = {size(row.record) for row in rows}
    names = [label(row.record) + (f"  {size(row.record)} px" if len(sizes) > 1 else "") for row in rows]
    colours = [COLOURS[row.verdict.word] if row.verdict else REFERENCE_COLOUR for row in rows]
    ends = [row.summary for row in rows]
    whiskers = [
        [max(0.0, end.typical - end.low) for end in ends],
        [max(0.0, end.high - end.typical) for end in ends],
    ]
    places = range(len(rows))
    ax.barh(places, times, color=colours, height=0.72)
    ax.errorbar(times, places, xerr=whiskers, fmt="none", ecolor="black", elinewidth=1, capsize=2)
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:.0e}"[0] in "25" else "")
    ax.tick_params(axis="x", which="both", labelsize=8)
    ax.set_xlim(min(times) / 2, max(times) * 4.5)
    for row, (one, end) in enumerate(zip(rows, ends, strict=True)):
        ratio = f"  ({one.verdict.ratio:.2f})" if one.verdict else ""
        text = f"{end.typical:.3g}{ratio}"
        ax.annotate(text, (end.high, row), xytext=(5, 0), textcoords="offset points", va="center", fontsize=8)
    ax.set_yticks(places, names, fontsize=8.5)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_xlabel("milliseconds a call (log scale)", fontsize=9)
    ax.set_title(
        f"{rows[0].record.runtime}, {setting_words(rows[0].record)}", fontsize=10.5, loc="left", pad=22
    )
    shown = [word for word in COLOURS if any(row.verdict and row.verdict.word == word for row in rows)]
    handles = [Patch(color=COLOURS[word], label=word) for word in shown]
    if any(row.verdict is None for row in rows):
        handles.append(Patch(color=REFERENCE_COLOUR, label=rows[0].reference))
    ax.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(-0.01, 0.995), ncols=4, fontsize=8, frameon=False
    )
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.tick_params(axis="y", length=0)


def _dates(found: Sequence[Row]) -> str:
    dates = sorted({row.record.date[:10] for row in found})
    return dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
