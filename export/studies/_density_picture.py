"""The picture of the study of blocks: density over stage sizes, a line for each block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from export.lab.plan import Measured
from export.studies._density import FLOPS, PARAMS, density
from export.studies._panels import COLOURS, MARKERS, rows_of_panels, runs

NOTE = (
    "Bars: 95 % intervals. FLOPs are two for each multiply-add. Each map size was measured by itself. "
    "Blocks as reconstructed here after TRT-ViT (arXiv 2205.09579)."
)


def draw(figure: Any, measured: Sequence[Measured]) -> None:
    """A row of two panels, TeraFLOPS and TeraParams, for each runtime and setting. The heat over all depths,
    which has no map size of its own, is left out."""
    found = {run: _of_one_size(heats) for run, heats in runs(measured).items()}
    found = {run: heats for run, heats in found.items() if heats}
    axes = rows_of_panels(figure, len(found), 2, 5.2, 3.6)
    for row, (run, heats) in zip(axes, found.items(), strict=False):
        for panel, metric in zip(row, (FLOPS, PARAMS), strict=True):
            _lines(panel, heats, metric)
            panel.set_title(f"{metric}: {run}", fontsize=10, loc="left")
    if found:
        handles, labels = axes[0][0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside upper center", ncols=len(labels), frameon=False, fontsize=9
        )
    figure.supxlabel(NOTE, fontsize=8, color="#5d6878")


def _of_one_size(heats: Mapping[str, Measured]) -> dict[str, Measured]:
    return {key: one for key, one in heats.items() if "x" in key}


def _lines(axes: Any, heats: Mapping[str, Measured], metric: str) -> None:
    keys = list(heats)
    kinds = list(
        dict.fromkeys(
            str(record.subject["block"]) for one in heats.values() for record in one.heat.records.values()
        )
    )
    for number, kind in enumerate(kinds):
        points = [
            (place + 0.06 * (number - (len(kinds) - 1) / 2), density(record, metric))
            for place, key in enumerate(keys)
            for record in heats[key].heat.records.values()
            if record.subject["block"] == kind
        ]
        axes.errorbar(
            [x for x, _ in points],
            [y.value for _, y in points],
            yerr=[[y.errors[side] for _, y in points] for side in (0, 1)],
            label=kind,
            color=COLOURS[number],
            marker=MARKERS[number],
            ms=5,
            lw=1.3,
            capsize=2.5,
        )
    axes.set_xticks(range(len(keys)), keys)
    if metric == PARAMS:  # they span two orders of magnitude, TeraFLOPS do not
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.set_xlabel("map of the stage, pixels", fontsize=9)
    axes.set_ylabel("10¹² FLOPs/s" if metric == FLOPS else "10¹² parameters/s", fontsize=9)
    axes.grid(which="major", alpha=0.3, lw=0.6)
    axes.tick_params(labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
