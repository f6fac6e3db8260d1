"""report.png: the error by stage and the counts that matter, for a README or a chat."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from export._optional import require
from export.report_lines import stage_limit
from export.report_parts import in_short

_GOOD, _BAD, _BAR, _MOVE, _MUTED = "#1d8a55", "#c8372d", "#4a6fa5", "#d98a2b", "#5d6878"
_FLOOR = 1e-9
_INSIDE = 3e-8  # a bar as long as this has room for its number


def png(data: Mapping[str, Any]) -> bytes:
    """Draws what `report.report_data` returns; no display is needed."""
    require("matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    _errors(left, data["gate"])
    _counts(right, data["graph"], data["engine"])
    figure.suptitle(_title(data), x=0.01, ha="left", fontsize=13, fontweight="bold",
                    color=_GOOD if data["accepted"] else _BAD)  # fmt: skip
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="white")
    return buffer.getvalue()


def _title(data: Mapping[str, Any]) -> str:
    model = data["model"]
    verdict = "accepted" if data["accepted"] else "REJECTED"
    weights = ", random weights" if model["random_weights"] else ""
    engine = "" if data["engine"]["status"] == "none" else f"; engine {data['engine']['status']}"
    return f"{model['name']}, {model['precision']}{weights}: {verdict}{engine}"


def _errors(axes: Any, gate: Mapping[str, Any]) -> None:
    stages = [stage for stage in gate["stages"] if stage["present"] or gate["begins_at"]]
    values = [max(stage.get("relative") or 1.0, _FLOOR) for stage in stages]
    names = [stage["stage"] for stage in stages]
    begin = names.index(gate["begins_at"]) if gate["begins_at"] in names else len(names)
    colours = [_BAD if index >= begin else _BAR for index in range(len(names))]
    if begin == len(names) and colours and not gate.get("behind"):  # the last one is the output
        colours[-1] = _GOOD if gate["passed"] else _BAD
    axes.barh(names, values, color=colours, height=0.6, left=0)
    axes.set_xscale("log")
    axes.set_xlim(_FLOOR, 1)
    limit = stage_limit(gate)
    axes.axvline(limit, color=_BAD, linestyle="--", linewidth=1.2)
    label = f"limit of {'each stage' if gate.get('behind') else 'the gate'} {in_short(limit)}"
    axes.annotate(label, (limit, 1.005), ha="center", va="bottom",
                  xycoords=("data", "axes fraction"), color=_BAD, fontsize=9)  # fmt: skip
    for row, value in enumerate(values):
        inside = value > _INSIDE
        place, colour = (_FLOOR, "white") if inside else (value, _MUTED)
        axes.annotate(f"{value:.1e}", (place, row), xytext=(6, 0), textcoords="offset points", va="center",
                      fontsize=9, color=colour)  # fmt: skip
    axes.invert_yaxis()
    axes.set_xlabel(f"error of the ONNX file against JAX, relative ({gate['images']['count']} real images)")
    _plain(axes)


def _counts(axes: Any, graph: Mapping[str, Any], engine: Mapping[str, Any]) -> None:
    rows = [("ONNX nodes", graph["nodes"], graph["moving_nodes"])]
    if "kernels" in engine:
        rows.append(("GPU kernels", engine["kernels"], engine["data_movements"]))
    names = [row[0] for row in rows]
    computing = [total - moving for _, total, moving in rows]
    moving = [moving for _, _, moving in rows]
    axes.barh(names, computing, color=_BAR, height=0.45, label="compute")
    axes.barh(names, moving, left=computing, color=_MOVE, height=0.45, label="only move or reshape data")
    for row, (_, total, moved) in enumerate(rows):
        axes.annotate(f"{total} ({moved})", (total, row), xytext=(4, 0), textcoords="offset points",
                      va="center", fontsize=10, color=_MUTED)  # fmt: skip
    axes.set_xlim(0, 1.25 * max(total for _, total, _ in rows))
    axes.set_ylim(len(rows) - 0.3, -0.9)
    axes.legend(loc="upper right", frameon=False, fontsize=9, ncols=2)
    axes.set_xlabel(f"count (of which moving); {graph['transposes']} Transposes")
    _plain(axes)


def _plain(axes: Any) -> None:
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
