"""What the pictures of the TRT-ViT studies share: their colours, their labels, a bar chart with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from export.lab.options import Options
from export.lab.plan import Measured
from export.studies._density import Estimate

PAPER_BATCH = 8  # images of one call in TRT-ViT (arXiv 2205.09579)
#: Okabe and Ito's colours, which people with any kind of colour vision can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "v", "D", "P", "X")


def runs(measured: Sequence[Measured]) -> dict[str, dict[str, Measured]]:
    """Runtime and setting in words -> key of the plan -> what was measured so; empty heats are left out."""
    found: dict[str, dict[str, Measured]] = {}
    for one in measured:
        if one.heat.records:
            found.setdefault(f"{one.runtime}, {one.setting}", {})[one.plan.key] = one
    return found


def measured_names(one: Measured) -> list[str]:
    """Contenders that were measured, in the order of the plan."""
    return [subject.name for subject in one.plan.subjects if subject.name in one.heat]


def rows_of_panels(figure: Any, rows: int, columns: int, width: float, height: float) -> Any:
    """(rows, columns) axes; `width` and `height` of one panel in inches. Never less than a row."""
    rows = max(rows, 1)
    figure.set_size_inches(width * columns, height * rows)
    return figure.subplots(rows, columns, squeeze=False)


def bars(axes: Any, values: Mapping[str, Estimate]) -> None:
    """Horizontal bars by name from top to bottom, each with its value and its interval."""
    names, found = list(values), list(values.values())
    axes.barh(
        range(len(names)),
        [one.value for one in found],
        xerr=[[one.errors[side] for one in found] for side in (0, 1)],
        color=COLOURS[0],
        alpha=0.85,
        height=0.62,
        error_kw={"capsize": 3, "lw": 1},
    )
    for place, one in enumerate(found):
        tip = max(one.value, one.high), place
        axes.annotate(f"{one.value:.3g}", tip, (5, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.25 * max((one.high for one in found), default=1.0))
    plain(axes)


def plain(axes: Any) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="x", alpha=0.25, lw=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)


def paper_batch(options: Options, batch: int = PAPER_BATCH) -> int:
    """The paper's where a GPU is measured; 1 where there are CPUs only, so that a study ends in minutes."""
    if options.batch is not None:
        return options.batch
    return batch if any(runtime.device == "gpu" for runtime in options.runtimes) else 1
