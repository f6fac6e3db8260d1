"""Latency at equal widths, latency after calibration, and what the same latency buys: one row of panels for
each runtime and precision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from export.lab.calibrate import TOLERANCE
from export.lab.plan import Measured
from export.studies._next_vit import REFERENCE, is_after, met, part_of

# Okabe and Ito's colours, told apart by colour-blind readers.
_BEFORE, _AFTER, _PARAMS, _MACS, _BAND, _MUTED = (
    "#56b4e9", "#0072b2", "#009e73", "#e69f00", "#dfe7ef", "#5d6878",
)  # fmt: skip
_ROW, _HEAD = 0.34, 1.5  # inches
_WIDE = 12.0
_LEAST = 0.055  # half width of the second panel's axis


def draw(figure: Any, measured: Sequence[Measured], title: str, source: str) -> None:
    """All of `measured` on one matplotlib figure, which is made as high as it must be."""
    measured = [one for one in measured if one.heat.records]
    places = list(dict.fromkeys((one.runtime, str(one.setting)) for one in measured))
    groups = {
        place: [one for one in measured if (one.runtime, str(one.setting)) == place] for place in places
    }
    lines = {place: _lines(heats) for place, heats in groups.items()}
    heights = [_HEAD + _ROW * len(lines[place]) for place in places]
    figure.set_size_inches(_WIDE, sum(heights) + 1.0)
    figure.suptitle(title, fontsize=14, fontweight="bold", x=0.01, ha="left")
    levelled = any(is_after(one) for one in measured)
    rows = figure.subfigures(len(places), 1, height_ratios=heights, squeeze=False)[:, 0]
    for row, place in zip(rows, places, strict=True):
        first = groups[place][0]
        row.suptitle(f"{place[0]}, {place[1]}, {first.heat[next(iter(first.heat))].device}", fontsize=11)
        axes = row.subplots(1, 3 if levelled else 1, sharey=True, squeeze=False)[0]
        _latency(axes[0], lines[place])
        if levelled:
            _levelled(axes[1], lines[place])
            _bought(axes[2], lines[place])
        _names(axes[0], lines[place])
    figure.supxlabel(f"Whiskers: 95 % intervals. Source of the variants: {source}", fontsize=8, color=_MUTED)


class _Line:
    """One row of the panels: a variant, or the heading of a part."""

    def __init__(self, name: str, before: Measured | None = None, after: Measured | None = None):
        self.name, self.before, self.after = name, before, after


def _lines(heats: Sequence[Measured]) -> list[_Line]:
    found: list[_Line] = []
    for part in dict.fromkeys(part_of(one) for one in heats):
        both = [one for one in heats if part_of(one) == part]
        before = next((one for one in both if not is_after(one)), None)
        after = next((one for one in both if is_after(one)), None)
        found.append(_Line(part))
        names = dict.fromkeys(name for one in both for name in one.heat)
        found += [
            _Line(
                name,
                before if before and name in before.heat and REFERENCE in before.heat else None,
                after if after and name in after.heat and REFERENCE in after.heat else None,
            )
            for name in names
        ]
    return found


def _latency(axes: Any, lines: Sequence[_Line]) -> None:
    axes.axvline(1, color=_MUTED, linewidth=1)
    for row, line in enumerate(lines):
        if line.before:
            summary = line.before.heat[line.name].summary()
            _dot(axes, row, line.name, line.before, _BEFORE)
            axes.annotate(f"{summary.typical:.3g} ms", (1, row), xycoords=axes.get_yaxis_transform(),
                          fontsize=8, ha="right", va="center", color=_MUTED)  # fmt: skip
    low, high = axes.get_xlim()
    axes.set_xlim(low, high + 0.25 * (high - low))  # room for the milliseconds
    axes.set_xlabel(f"latency at equal widths / {REFERENCE}")
    _plain(axes)


def _levelled(axes: Any, lines: Sequence[_Line]) -> None:
    axes.axvspan(1 - TOLERANCE, 1 + TOLERANCE, color=_BAND, zorder=0)
    axes.axvline(1, color=_MUTED, linewidth=1)
    low, high = 1 - _LEAST, 1 + _LEAST
    for row, line in enumerate(lines):
        if line.after:
            ratio = _dot(axes, row, line.name, line.after, _AFTER)
            low, high = min(low, ratio - _LEAST / 2), max(high, ratio + _LEAST / 2)
    axes.set_xlim(low, high)
    axes.set_xlabel(f"latency after calibration / {REFERENCE}\n(band: within {100 * TOLERANCE:g} %)")
    _plain(axes)


def _dot(axes: Any, row: int, name: str, one: Measured, colour: str) -> float:
    if name == REFERENCE:
        axes.plot(1, row, marker="D", markersize=6, color=_MUTED, zorder=3)
        return 1.0
    verdict = one.heat.against(name, REFERENCE)
    axes.plot([verdict.low, verdict.high], [row, row], color=colour, linewidth=1.6, zorder=2)
    axes.plot(verdict.ratio, row, marker="o", markersize=6, color=colour, zorder=3)
    return verdict.ratio


def _bought(axes: Any, lines: Sequence[_Line]) -> None:
    """Bars from 0, the change of parameters and FLOPs in per cent."""
    axes.axvline(0, color=_MUTED, linewidth=1)
    labelled = False
    for row, line in enumerate(lines):
        if not line.after:
            continue
        if not met(line.after, line.name):
            axes.annotate("budget not met", (0, row), xytext=(5, 0), textcoords="offset points", fontsize=8,
                          va="center", color=_MUTED)  # fmt: skip
            continue
        subject, reference = (line.after.heat[name].subject for name in (line.name, REFERENCE))
        for key, shift, colour, unit, scale, label in (
            ("params", -0.19, _PARAMS, "M", 1e6, "parameters"),
            ("macs", 0.19, _MACS, "G", 1e9, "FLOPs (as GMACs)"),
        ):
            change = 100 * (subject[key] / reference[key] - 1)
            axes.barh(row + shift, change, height=0.36, color=colour, label=None if labelled else label)
            axes.annotate(f"{subject[key] / scale:.3g} {unit}", (change, row + shift), fontsize=7.5,
                          xytext=(3 if change >= 0 else -3, 0), textcoords="offset points", va="center",
                          ha="left" if change >= 0 else "right", color=_MUTED)  # fmt: skip
        labelled = True
    if not labelled:
        axes.set_axis_off()
        return
    low, high = axes.get_xlim()
    axes.set_xlim(low - 0.18 * (high - low), high + 0.18 * (high - low))
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False, fontsize=8)
    axes.set_xlabel(f"change against {REFERENCE}\nat the same latency, %")
    _plain(axes)


def _names(axes: Any, lines: Sequence[_Line]) -> None:
    axes.set_yticks(range(len(lines)), [line.name for line in lines])
    for label, line in zip(axes.get_yticklabels(), lines, strict=True):
        label.set_fontweight("bold" if not line.before and not line.after else "normal")
    axes.set_ylim(len(lines) - 0.4, -0.6)


def _plain(axes: Any) -> None:
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#eceff2", linewidth=0.8)
    axes.set_axisbelow(True)
