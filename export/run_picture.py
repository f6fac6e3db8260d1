"""predictions.png: each image as the model saw it, with its most likely classes as bars."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from export._optional import require

#: More would make a picture nobody can read.
MOST_IMAGES = 24
_COLUMNS = 2
_BEST, _OTHER, _TEXT, _MUTED = "#1d8a55", "#8fa9cc", "#1b2330", "#5d6878"
#: Characters of a class name or title that fit.
_FIT = 34


@dataclass(frozen=True)
class Prediction:
    """An image file's `name`, its `pixels` as the model saw them, and (label, probability), best first."""

    name: str
    pixels: np.ndarray
    top: tuple[tuple[str, float], ...]


def draw(predictions: Sequence[Prediction], title: str) -> bytes:
    """A PNG of at most `MOST_IMAGES` predictions, two in a row; no display is needed."""
    require("matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = list(predictions[:MOST_IMAGES])
    columns = min(_COLUMNS, len(shown))
    rows = math.ceil(len(shown) / columns)
    most = max(len(prediction.top) for prediction in shown)
    height = max(2.3, 0.9 + 0.36 * most)
    figure = Figure(figsize=(6.4 * columns, height * rows + 0.5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, 2 * columns, squeeze=False, width_ratios=(1, 1.25) * columns)
    for index in range(rows * columns):
        row, column = divmod(index, columns)
        left, right = axes[row][2 * column], axes[row][2 * column + 1]
        if index < len(shown):
            _image(left, shown[index])
            _bars(right, shown[index], most)
        else:
            left.axis("off")
            right.axis("off")
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold", color=_TEXT)
    buffer = io.BytesIO()
    with (
        warnings.catch_warnings()
    ):  # letters that the font lacks are drawn as boxes; the printed names are whole
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(buffer, format="png", facecolor="white")
    return buffer.getvalue()


def _image(axes: Any, prediction: Prediction) -> None:
    pixels = prediction.pixels
    if pixels.shape[-1] == 3:
        axes.imshow(pixels)
    else:
        axes.imshow(pixels[..., 0], cmap="gray", vmin=0, vmax=255)
    axes.axis("off")
    axes.set_title(_plain(prediction.name), fontsize=10, color=_MUTED, loc="left")


def _bars(axes: Any, prediction: Prediction, most: int) -> None:
    for row, (label, probability) in enumerate(prediction.top):
        best = row == 0
        axes.barh(row, 1.0, color="#eef1f6", height=0.2, align="edge")
        axes.barh(row, probability, color=_BEST if best else _OTHER, height=0.2, align="edge")
        weight = "bold" if best else "normal"
        axes.text(0, row - 0.08, _plain(label), fontsize=10, color=_TEXT, va="bottom", fontweight=weight)
        axes.text(
            1, row - 0.08, f"{100 * probability:.1f} %", fontsize=10, color=_MUTED, va="bottom", ha="right"
        )
    axes.set_xlim(0, 1)
    axes.set_ylim(most - 0.5, -0.7)
    axes.axis("off")


def _plain(text: str) -> str:
    """Cut to what fits; dollar signs would begin a formula."""
    cut = text if len(text) <= _FIT else text[: _FIT - 1] + "\N{HORIZONTAL ELLIPSIS}"
    return cut.replace("$", r"\$")
