"""The roofline as a picture: operations a second over operations for each byte."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from export.lab.profile.peaks import Peaks
from export.lab.profile.roofline import Point

INK, MUTED, GRID, ROOF = "#222222", "#5d6878", "#e5e8ec", "#444444"
#: Okabe and Ito's colours without their yellow, which is too light for text.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_GIGA = 1e9
_SMALL = 6.5  # points of a module's name


def draw(figure: Any, peaks: Peaks, found: Sequence[Point], title: str) -> None:
    """Fills an empty matplotlib figure: large marks are networks, small ones their modules."""
    figure.set_size_inches(11.5, 7.0)
    ax = figure.subplots()
    low = min([point.intensity for point in found] + [peaks.ridge]) / 2.5
    high = max([point.intensity for point in found] + [peaks.ridge]) * 3
    ax.plot(
        [low, peaks.ridge, high], [peaks.roof(x) / _GIGA for x in (low, peaks.ridge, high)],
        color=ROOF, linewidth=2, zorder=1,
    )  # fmt: skip
    ax.annotate(
        f"arithmetic: {_amount(peaks.flops)}FLOP/s", (high, peaks.flops / _GIGA), xytext=(-6, 6),
        textcoords="offset points", ha="right", fontsize=9, color=INK,
    )  # fmt: skip
    ax.annotate(
        f"memory: {_amount(peaks.bandwidth)}B/s", (low, peaks.roof(low) / _GIGA), xytext=(8, -2),
        textcoords="offset points", ha="left", va="top", fontsize=9, color=INK,
    )  # fmt: skip
    models = list(dict.fromkeys(point.model for point in found))
    for place, model in enumerate(models):
        _model(ax, [one for one in found if one.model == model], place)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(low, high)
    least = min([point.achieved for point in found] + [peaks.roof(low)]) / _GIGA
    ax.set_ylim(least / 2, 2.5 * max([peaks.flops, *(point.achieved for point in found)]) / _GIGA)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(lambda value, place: f"{value:g}")
    ax.set_xlabel("operations for each byte (FLOP/B), nothing fused or cached", fontsize=9.5)
    ax.set_ylabel("operations a second (GFLOP/s)", fontsize=9.5)
    ax.grid(which="major", color=GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ax.legend(fontsize=9, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.3)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12.5, fontweight="bold", color=INK)
    note = (
        "Large: a network's whole call. Small: its modules, by the profiler; those whose products were "
        "fused with others' are left out.\nAbove the memory line: a runtime that fuses, or finds data in a "
        "cache, moves fewer bytes than are counted."
    )
    figure.supxlabel(note, x=0.01, ha="left", fontsize=8.5, color=MUTED)
    figure.draw_without_rendering()  # labels need to know where the axes lie
    _labels(ax, found, models)


def _model(ax: Any, found: Sequence[Point], place: int) -> None:
    colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
    whole = [point for point in found if not point.module]
    parts = [point for point in found if point.module]
    ax.scatter(
        [point.intensity for point in parts], [point.achieved / _GIGA for point in parts],
        s=26, color=colour, marker=marker, alpha=0.65, linewidths=0, zorder=3,
    )  # fmt: skip
    ax.scatter(
        [point.intensity for point in whole], [point.achieved / _GIGA for point in whole],
        s=130, color=colour, marker=marker, edgecolors="white", linewidths=1.2, zorder=4,
        label=f"{found[0].model}: {whole[0].achieved / _GIGA:.3g} GFLOP/s" if whole else found[0].model,
    )  # fmt: skip


def _labels(ax: Any, found: Sequence[Point], models: Sequence[str]) -> None:
    """Names of modules, each on the side of its mark where it covers no other mark or name, if there is
    one."""
    marks = [ax.transData.transform((point.intensity, point.achieved / _GIGA)) for point in found]
    scale = ax.figure.dpi / 72
    taken = [(x - 4 * scale, y - 4 * scale, x + 4 * scale, y + 4 * scale) for x, y in marks]
    height = 1.2 * _SMALL * scale
    for point, (x, y) in zip(found, marks, strict=True):
        if not point.module:
            continue
        width = 0.6 * _SMALL * scale * len(point.module)
        places = [
            (side * (5 * scale) - (width if side < 0 else 0), up)
            for up in (2 * scale, -height, height, -2 * height)
            for side in (1, -1)
        ]
        boxes = [(x + left, y + up, x + left + width, y + up + height) for left, up in places]
        place = next((i for i, box in enumerate(boxes) if not any(_cover(box, one) for one in taken)), 0)
        taken.append(boxes[place])
        ax.annotate(
            point.module, (point.intensity, point.achieved / _GIGA), fontsize=_SMALL,
            xytext=(places[place][0] / scale, places[place][1] / scale), textcoords="offset points",
            color=COLOURS[models.index(point.model) % len(COLOURS)],
        )  # fmt: skip


def _cover(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _amount(number: float) -> str:
    """1.3e11 -> "130 G"."""
    for factor, word in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if number >= factor:
            return f"{number / factor:.3g} {word}"
    return f"{number:.3g} "
