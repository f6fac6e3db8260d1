"""What the commands of the lab write: files that are whole or as they were before, and pictures that are
the same for the same data."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from export._optional import require

SIZE = (11.0, 6.0)  # inches, for figures that are not given another by what draws them
RED = "#c8372d"


def write(folder: Path, made: Mapping[str, bytes]) -> list[Path]:
    """Each file under its name, by way of another name beside it; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in made.items():
        partial = folder / f".{name}.partial"
        partial.write_bytes(data)
        os.replace(partial, folder / name)
    return [folder / name for name in made]


def pictures(name: str, draw: Callable[[Any], None], note: str = "") -> dict[str, bytes]:
    """NAME.png and NAME.svg; the same data give the same bytes.

    Args:
      draw: gets an empty matplotlib figure of SIZE.
      note: across the picture, "" for none.
    """
    require("matplotlib")
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    draw(figure)
    if note:
        figure.text(0.5, 0.5, note, ha="center", va="center", rotation=20, fontsize=22, color=RED, alpha=0.3)
    made = {}
    # no date, and no random names in the SVG
    with matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        for kind, nothing in (("png", "Software"), ("svg", "Date")):
            data = io.BytesIO()
            figure.savefig(data, format=kind, facecolor="white", metadata={nothing: None})
            made[f"{name}.{kind}"] = data.getvalue()
    return made
