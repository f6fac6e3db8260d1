"""What a run did, in two pictures: learning_curve.png, and machine_curve.png for how it went."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from train_tpu.scores import MAIN, main_of

INK, MUTED, GRID = "#1f2933", "#7b8794", "#e4e7eb"
TRAIN, RAW, EMA = "#9aa5b1", "#f0a35e", "#2563eb"
REFERENCES = ("#0f766e", "#be185d")


def draw_curves(
    rows: list[dict[str, Any]], path: Path, title: str, references: dict[str, float] | None = None
) -> None:
    """Draw loss, the main held-out score and learning rate over steps.

    Args:
      rows: of metrics.jsonl.
      references: held-out score (share of 1) of other classifiers, drawn as dashed lines.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    train = [row for row in rows if row["split"] == "train"]
    held_out = {
        w: [r for r in rows if r["split"] == "held_out" and r["weights"] == w] for w in ("raw", "ema")
    }
    figure = Figure(figsize=(10.5, 4.2), dpi=150, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, x=0.012, ha="left", fontsize=12, fontweight="bold", color=INK)
    axes = figure.subplots(1, 3, width_ratios=(1.25, 1.25, 0.8))

    steps = [row["step"] for row in train]
    style(axes[0], "loss (log scale)")
    axes[0].plot(
        steps,
        [row["loss"] for row in train],
        color=TRAIN,
        lw=1.4,
        marker=_marker(steps),
        label="training (as it is minimised)",
    )
    for weights, color, label in (("raw", RAW, "held out, raw"), ("ema", EMA, "held out, averaged")):
        points = [row for row in held_out[weights] if "loss" in row]
        axes[0].plot(*_points(points, "loss"), color=color, lw=1.8, marker="o", ms=3, label=label)
    log_scale(axes[0])
    axes[0].legend(*_present(axes[0]), frameon=False, fontsize=8, labelcolor=INK)

    main = next(filter(None, map(main_of, (*held_out["ema"], *held_out["raw"]))), "top1")
    style(axes[1], f"{error_title(MAIN[main])} (log scale)")
    for weights, color, label in (("raw", RAW, "raw weights"), ("ema", EMA, "averaged weights")):
        x, scores = _points(held_out[weights], main)
        axes[1].plot(x, [_error(v) for v in scores], color=color, lw=1.8, marker="o", ms=3, label=label)
        if scores:
            last = f"{scores[-1]:.2%}"
            axes[1].annotate(
                last,
                (x[-1], _error(scores[-1])),
                xytext=(5, 0),
                textcoords="offset points",
                fontsize=8,
                fontweight="bold",
                color=color,
                va="bottom" if weights == "raw" else "top",
            )
    for (name, score), color in zip((references or {}).items(), REFERENCES, strict=False):
        axes[1].axhline(_error(score), color=color, lw=1.1, ls=(0, (4, 3)), label=f"{name} {score:.2%}")
    log_scale(axes[1])
    axes[1].margins(x=0.14)
    axes[1].legend(*_present(axes[1]), frameon=False, fontsize=8, labelcolor=INK)

    style(axes[2], "learning rate, 1/1000")
    axes[2].plot(steps, [1000 * row["lr"] for row in train], color=INK, lw=1.6, marker=_marker(steps))
    axes[2].set_ylim(bottom=0)
    save(figure, path)


def draw_machine(rows: list[dict[str, Any]], path: Path, title: str) -> None:
    """Draw gradient norm, images/s, and shares (input wait, MFU, goodput, where known) over steps.

    Args:
      rows: of metrics.jsonl.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    train = [row for row in rows if row["split"] == "train"]
    figure = Figure(figsize=(10.5, 3.6), dpi=150, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, x=0.012, ha="left", fontsize=12, fontweight="bold", color=INK)
    axes = figure.subplots(1, 3)
    panels = (
        ("gradient norm before clipping (log scale)", (("grad_norm", "", RAW),)),
        ("images/s since the evaluation before", (("images_per_second", "", EMA),)),
        (
            "shares, %",
            (
                ("input_wait", "waiting for input", RAW),
                ("mfu", "MFU", EMA),
                ("goodput", "goodput so far", INK),
            ),
        ),
    )
    for axis, (name, lines) in zip(axes, panels, strict=True):
        style(axis, name)
        for key, label, color in lines:
            known = [row for row in train if key in row]
            scale = 100 if label else 1
            x, y = _points(known, key)
            axis.plot(x, [scale * v for v in y], color=color, lw=1.4, label=label, marker=_marker(x))
    log_scale(axes[0])
    axes[1].set_ylim(bottom=0)
    axes[2].set_ylim(0, 100)
    axes[2].legend(*_present(axes[2]), frameon=False, fontsize=8, labelcolor=INK)
    save(figure, path)


def save(figure: Any, path: Path) -> None:
    """Write the picture; letters that its font lacks (Chinese ones, say) are boxes in it, and no warnings."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(path)


def style(axis: Any, title: str) -> None:
    """Title, grid and colours that all our curves have."""
    axis.set_title(title, loc="left", fontsize=9.5, color=INK)
    axis.set_xlabel("step", fontsize=8.5, color=MUTED)
    axis.tick_params(which="both", labelsize=8, colors=MUTED, length=0)
    axis.grid(color=GRID, lw=0.8)
    axis.set_axisbelow(True)
    for side, spine in axis.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(GRID)


def log_scale(axis: Any) -> None:
    """Logarithmic y with plain numbers at 1, 2 and 5 times the powers of ten; at more where it is short."""
    axis.set_yscale("log")
    low, high = axis.get_ylim()
    digits = "25" if high > 4 * low else "23456789"
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in digits else "")


def _points(rows: list[dict[str, Any]], name: str) -> tuple[list[int], list[float]]:
    return [row["step"] for row in rows], [row[name] for row in rows]


def error_title(score: str) -> str:
    """What is drawn of a main score, on a logarithmic axis: what is missing to 100 %."""
    return "held-out top-1 error, %" if score == "top-1" else f"held out, 100 % - {score}"


def _error(score: float) -> float:
    return max(100 * (1 - score), 0.1)  # a logarithmic axis has no 0; 0.1 % is below one image in 360


def _present(axis: Any) -> tuple[list[Any], list[str]]:
    """Legend entries of the lines that have points."""
    pairs = [
        (line, label)
        for line, label in zip(*axis.get_legend_handles_labels(), strict=True)
        if len(line.get_xdata())
    ]
    return [line for line, _ in pairs], [label for _, label in pairs]


def _marker(points: Sequence[Any]) -> str:
    """A line of one point would not be seen."""
    return "o" if len(points) == 1 else ""
