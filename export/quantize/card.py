"""The card of report.html about int8 and fp8."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from export.quantize.names import QUANTISED
from export.report_parts import card, in_bytes, table

#: What the numbers of each precision are, in words.
_NUMBERS = {
    "int8": "int8, symmetric, one scale a tensor and one an output channel",
    "fp8": "float8 (E4M3: 4 significant bits, up to 448), one scale a tensor",
}


def quantise_card(data: Mapping[str, Any]) -> str:
    """Empty for other precisions."""
    return "".join(_card(name, data[name]) for name in QUANTISED if data.get(name))


def _card(name: str, found: Mapping[str, Any]) -> str:
    rows = [
        (f"layers in {name}", str(len(found["layers"]))),
        ("layers kept float", escape(_kept(found["kept"]))),
        ("ranges", escape(f"{found['calibrator']}, {found['calibration_images']} images")),
        (
            "model.onnx",
            f"{in_bytes(found[f'bytes_{name}'])} ({found['rest']}: {in_bytes(found['bytes_float'])})",
        ),
    ]
    if found[f"kernels_{name}"] is not None:
        other = found["kernels_float"] or "not built"
        rows.append(("kernels", f"{found[f'kernels_{name}']} ({found['rest']}: {other})"))
        rows.append((f"kernels that read or write {name}", str(found[f"{name}_kernels"])))
    if found["drop"] is not None:
        by = "labels" if found["labelled"] else "agreement with JAX"
        rows.append(("points of top-1 lost", f"{found['drop']:.1f} on {found['images']} images, by {by}"))
    if found["cpu_ratio"] is not None:
        rows.append(("time in ONNX Runtime on the CPU, float32 = 1", f"{found['cpu_ratio']:.2f}"))
    if found["gpu_ratio"] is not None:
        rows.append((f"time of the engine, {found['rest']} = 1", f"{found['gpu_ratio']:.2f}"))
    what = (
        f"Inputs and weights of these layers are {_NUMBERS[name]}, by QuantizeLinear and DequantizeLinear in "
        f"the file. Ranges from {escape(found['calibration_source'])}."
    )
    names = f"<details><summary>Layers in {name}</summary>{escape(', '.join(found['layers']))}</details>"
    return card(name, what, table(("", ""), rows) + _search(name, found.get("searched")) + names)


def _search(name: str, found: Mapping[str, Any] | None) -> str:
    """What the search for layers that stay float found; reports of before there was one have none."""
    if not found:
        return ""
    told = (
        f"Layers that the search left in float: with all layers in {name} the error was "
        f"{_number(found['before'])} of the largest logit, without these it is {_number(found['after'])} "
        f"({found['runs']} of at most {found['most_runs']} runs on calibration images)."
    )
    if found["note"]:
        told += f" {found['note'][0].upper()}{found['note'][1:]}."
    rows = [(escape(layer), escape(why)) for layer, why in found["kept"].items()]
    return f"<p>{escape(told)}</p>" + (table(("layer", "why"), rows) if rows else "")


def _number(value: float | None) -> str:
    """Infinite errors are null in JSON."""
    return "infinite" if value is None else f"{value:.2g}"


def _kept(kept: Mapping[str, str]) -> str:
    shown = [f"{name} ({why})" for name, why in list(kept.items())[:4]]
    more = len(kept) - len(shown)
    return (", ".join(shown) or "none") + (f" and {more} more" if more else "")
