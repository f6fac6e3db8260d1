"""The picture of `train_tpu.compare`: curves of several runs in one place, with a table of their scores."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from train_tpu.monitoring.curves import GRID, INK, MUTED, error_title, log_scale, save, style
from train_tpu.monitoring.runs import SCORES, Run, labels, score_of, summarise, table
from train_tpu.scores import main_of, main_score

# Of equal weight to the eye and told apart by the colour-blind (after Okabe and Ito 2008); then dashed.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6b4c9a", "#4d4d4d")
DASHES = ("-", (0, (4, 2)), (0, (1, 1.2)))
WIDTHS = (0.46, 0.07, 0.08, 0.08, 0.14, 0.08, 0.09)  # of the columns of the table, shares


def draw(runs: Sequence[Run], path: Path) -> None:
    """Training loss, held-out loss and top-1 error, learning rate, gradient norm and images/s over steps.

    Over images where the runs have batches of different sizes.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    below = 0.75 + 0.26 * len(runs)
    figure = Figure(
        figsize=(13.5, 7.4 + below),
        dpi=130,
        facecolor="white",
        layout=ConstrainedLayoutEngine(h_pad=0.08, w_pad=0.06),
    )
    FigureCanvasAgg(figure)
    figure.suptitle(_title(runs), x=0.008, ha="left", fontsize=12, fontweight="bold", color=INK)
    grid = figure.add_gridspec(3, 3, height_ratios=(3.7, 3.7, below))
    batches = {run.config.get("data.batch_size") for run in runs}
    axes = [figure.add_subplot(grid[i // 3, i % 3]) for i in range(6)]
    score = score_of(summarise(run).main for run in runs)
    panels: tuple[tuple[str, Callable[[Run], Any], str, float, bool], ...] = (
        ("training loss (log scale)", Run.train, "loss", 1.0, True),
        ("held-out loss (log scale)", Run.held_out, "loss", 1.0, True),
        (f"{error_title(score)} (log scale)", Run.held_out, "error", 100.0, True),
        ("learning rate, 1/1000", Run.train, "lr", 1000.0, False),
        ("gradient norm (log scale)", Run.train, "grad_norm", 1.0, True),
        ("images/s", Run.train, "images_per_second", 1.0, False),
    )
    for axis, (title, rows_of, name, scale, logarithmic) in zip(axes, panels, strict=True):
        style(axis, title)
        if len(batches) > 1:
            axis.set_xlabel("images seen", fontsize=8.5, color=MUTED)
            axis.xaxis.set_major_formatter(lambda value, _: _thousands(value))
        for index, run in enumerate(runs):
            per_step = run.config.get("data.batch_size", 1) if len(batches) > 1 else 1
            rows = [row for row in rows_of(run) if (main_of(row) if name == "error" else name in row)]
            values = [_value(row, name) * scale for row in rows]
            marker = "o" if rows_of is Run.held_out else ""
            x = [row["step"] * per_step for row in rows]
            axis.plot(x, values, **_line(index), marker=marker, ms=3, alpha=0.92)
        if logarithmic:
            log_scale(axis)
        else:
            axis.set_ylim(bottom=0)
    _table(figure.add_subplot(grid[2, :]), table(runs))
    save(figure, path)


def _table(axis: Any, rows: list[tuple[str, ...]]) -> None:
    axis.set_axis_off()
    height = 1 / len(rows)
    for number, row in enumerate(rows):
        y, right = 1 - (number + 0.5) * height, 0.0
        for column, (cell, width) in enumerate(zip(row, WIDTHS, strict=True)):
            right += width
            head = number == 0
            words = {"fontsize": 9, "va": "center", "color": MUTED if head else INK}
            if column == 0:
                if not head:
                    axis.plot((0.002, 0.026), (y, y), **_line(number - 1), transform=axis.transAxes)
                axis.text(0.0 if head else 0.033, y, cell, **words)
            else:
                bold = "bold" if column in SCORES and not head else "normal"
                axis.text(right, y, cell, ha="right", fontweight=bold, **words)
        if number == 0:
            axis.axhline(1 - height, color=GRID, lw=1)
    axis.set_xlim(0, 1)
    axis.set_ylim(0, 1)


def _title(runs: Sequence[Run]) -> str:
    models = sorted({str(run.config.get("model.name")) for run in runs})
    count = f"{len(runs)} runs" if len(runs) > 1 else labels(runs)[0]
    return f"{count} of {', '.join(models)}" if len(models) <= 3 else count


def _line(index: int) -> dict[str, Any]:
    dash = DASHES[index // len(COLOURS) % len(DASHES)]
    return {"color": COLOURS[index % len(COLOURS)], "ls": dash, "lw": 1.6}


def _value(row: dict[str, Any], name: str) -> float:
    if name != "error":
        return row[name]
    return max(1 - main_score(row), 1e-3)  # a logarithmic axis has no 0


def _thousands(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
