"""The picture of blocks moved to late stages: before and after, for each network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from export.lab.plan import Measured
from export.lab.record import Record
from export.studies._density import PARAMS, Estimate, density
from export.studies._panels import COLOURS, plain, rows_of_panels, runs

NOTE = (
    "Bars: 95 % intervals. The depths of the refined networks are ours, "
    "after TRT-ViT's guideline 2 (arXiv 2205.09579)."
)
WIDTH = 0.36  # of a bar; two stand side by side in a row of height 1


def draw(figure: Any, measured: Sequence[Measured]) -> None:
    """Four panels for each runtime and setting; a pair of bars, original and refined, for each network."""
    found = runs(measured)
    axes = rows_of_panels(figure, len(found), len(PANELS), 3.3, 2.9)
    for row, (run, heats) in zip(axes, found.items(), strict=False):
        for place, (panel, (label, value)) in enumerate(zip(row, PANELS.items(), strict=True)):
            _pairs(panel, list(heats.values()), value)
            panel.set_xlabel(label, fontsize=9)
            if place == 0:
                panel.set_title(run, fontsize=10, loc="left")
            else:
                panel.set_yticklabels([])
    if found:
        handles, labels = axes[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False, fontsize=9)
    figure.supxlabel(NOTE, fontsize=8, color="#5d6878")


def _pairs(axes: Any, heats: Sequence[Measured], value: Callable[[Record], Estimate]) -> None:
    most = 0.0
    for number, word in enumerate(("original", "refined")):
        found = [
            (place + WIDTH * (number - 0.5), value(one.heat[name]))
            for place, one in enumerate(heats)
            for name in one.heat
            if name.startswith("refined_") == bool(number)
        ]
        exact = all(x.low == x.high for _, x in found)
        axes.barh(
            [y for y, _ in found],
            [x.value for _, x in found],
            xerr=None if exact else [[x.errors[side] for _, x in found] for side in (0, 1)],
            height=WIDTH,
            color=COLOURS[number],
            alpha=0.85,
            error_kw={"capsize": 2.5, "lw": 1},
            label=word,
        )
        for y, x in found:
            axes.annotate(
                f"{x.value:.3g}", (x.high, y), (4, 0), textcoords="offset points", va="center", fontsize=8
            )
            most = max(most, x.high)
    axes.set_yticks(range(len(heats)), [one.plan.key for one in heats])
    axes.set_ylim(len(heats) - 0.4, -0.6)
    axes.set_xlim(0, 1.35 * most or 1)
    axes.locator_params(axis="x", nbins=5)
    plain(axes)


def _exact(number: float) -> Estimate:
    return Estimate(number, number, number)


def _milliseconds(record: Record) -> Estimate:
    summary = record.summary()
    return Estimate(summary.typical, summary.low, summary.high)


PANELS: dict[str, Callable[[Record], Estimate]] = {
    "parameters, 10⁶": lambda record: _exact(record.subject["params"] / 1e6),
    "10⁹ multiply-adds an image": lambda record: _exact(record.subject["macs"] / 1e9),
    "latency of a call, ms": _milliseconds,
    "TeraParams, 10¹² parameters/s": lambda record: density(record, PARAMS),
}
