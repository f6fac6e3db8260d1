"""The picture of the path to TRT-ViT: latency over the reference's, and below it density, for each heat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from export.lab.plan import Measured
from export.lab.verdict import Verdict
from export.studies._density import FLOPS, PARAMS, Estimate, against
from export.studies._panels import COLOURS, MARKERS, bars, measured_names, plain, rows_of_panels, runs

NOTE = (
    "Bars: 95 % intervals. Reconstructions after TRT-ViT (arXiv 2205.09579); none is the paper's own "
    "network. C: BottleNeck, M: MixBlockC."
)
TITLES = {
    "path": "From ResNet-50 to TRT-ViT",
    "placement": "Where mixed blocks stand",
    "R": "Share R of attention",
}
LATENCY_AND_DENSITY = 2  # rows of panels
MUTED = "#5d6878"


def draw(figure: Any, measured: Sequence[Measured]) -> None:
    """Two rows for each runtime and setting; a column for each heat."""
    found = runs(measured)
    keys = list(dict.fromkeys(key for heats in found.values() for key in heats))
    axes = rows_of_panels(figure, LATENCY_AND_DENSITY * len(found), max(len(keys), 1), 4.4, 2.7)
    for row, (run, heats) in enumerate(found.items()):
        for column, key in enumerate(keys):
            above, below = (axes[LATENCY_AND_DENSITY * row + i][column] for i in range(LATENCY_AND_DENSITY))
            above.set_title(f"{TITLES.get(key, key)}\n{run}", fontsize=10, loc="left")
            base = heats[key].reference if key in heats else None
            if base is None:
                above.set_axis_off()
                below.set_axis_off()
                continue
            _latency(above, heats[key], base)
            _density(below, heats[key], base)
    handles, labels = next((panel.get_legend_handles_labels() for panel in axes[1:, 0].flat), ([], []))
    if handles:
        figure.legend(handles, labels, loc="outside upper right", ncols=2, frameon=False, fontsize=9)
    figure.supxlabel(NOTE, fontsize=8, color=MUTED)


def _latency(axes: Any, one: Measured, base: str) -> None:
    """Ratios, since a heat may have been split, and milliseconds of its parts do not compare."""
    bars(axes, {name: _over(one.heat.against(name, base)) for name in measured_names(one)})
    axes.axvline(1, color=MUTED, lw=0.8, ls="--")
    axes.set_xlabel(f"latency over that of {base}, {one.heat[base].summary().typical:.3g} ms", fontsize=9)


def _density(axes: Any, one: Measured, base: str) -> None:
    names = measured_names(one)
    for number, metric in enumerate((FLOPS, PARAMS)):
        ratios = [_over(against(one.heat, name, base, metric)) for name in names]
        axes.errorbar(
            [ratio.value for ratio in ratios],
            [place + 0.24 * (number - 0.5) for place in range(len(names))],
            xerr=[[ratio.errors[side] for ratio in ratios] for side in (0, 1)],
            fmt=MARKERS[number],
            color=COLOURS[number],
            ms=5,
            lw=1.2,
            capsize=2.5,
            label=metric,
        )
    axes.axvline(1, color=MUTED, lw=0.8, ls="--")
    axes.set_xlim(left=0)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel(f"density over that of {base}", fontsize=9)
    plain(axes)


def _over(verdict: Verdict) -> Estimate:
    return Estimate(verdict.ratio, verdict.low, verdict.high)
