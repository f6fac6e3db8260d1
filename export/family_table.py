"""The sizes of a family as a table: the same cells for the terminal and for the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: Of the columns; the first two are words, the others numbers. Behind the kernels those that only move data.
HEAD = (
    "size", "verdict", "error", "nodes", "kernels", "GMACs", "median ms", "images/s", "ns/pixel", "engine MB"
)  # fmt: skip


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """One row of the table; "-" where there is nothing to tell."""
    latency = row["latency"] or {}
    median = latency.get("median_ms")
    per_pixel = None if median is None else 1e6 * median / latency["batch"] / row["pixels"]
    return (
        f"{row['image_size'][0]}x{row['image_size'][1]}",
        "accepted" if row["accepted"] else "REJECTED",
        _show(row["error"], ".1e"),
        _show(row["nodes"], "d"),
        "-" if row["kernels"] is None else f"{row['kernels']} ({row['data_movements']})",
        _show(row["macs"] and row["macs"] / 1e9, ".2f"),
        _show(median, ".2f"),
        _short(latency.get("images_per_second")),
        _short(per_pixel),
        _show(row["engine_bytes"] and row["engine_bytes"] / 1e6, ".1f"),
    )


def text(data: Mapping[str, Any]) -> str:
    """The table for the terminal, and what was measured where."""
    rows = [HEAD, *(cells(row) for row in data["sizes"])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    failed = sum(not row["accepted"] for row in data["sizes"])
    verdict = f"{failed} of them REJECTED" if failed else "all accepted"
    lines = [f"family of {data['model']}, {data['precision']}: {len(data['sizes'])} sizes, {verdict}"]
    lines += ["  " + _line(row, widths) for row in rows]
    lines += [f"  latency  {words}" for words in [where(data)] if words]
    for row in data["sizes"]:
        lines += [f"  reason   {cells(row)[0]}: {reason}" for reason in row["reasons"]]
    return "\n".join(lines)


def where(data: Mapping[str, Any]) -> str:
    """What the latencies were measured on; empty if there are none."""
    found = [row["latency"] for row in data["sizes"] if row["latency"]]
    places = sorted({_place(latency) for latency in found})
    on_cpu = any(latency["where"].startswith("CPU") for latency in found)
    what = "the ONNX file, not the engine" if on_cpu else "the engine"
    return f"of {what}, on {' and '.join(places)}" if places else ""


def _place(latency: Mapping[str, Any]) -> str:
    threads = f", {latency['threads']} threads" if latency["threads"] else ""
    return f"{latency['where']}{threads}, batch {latency['batch']}"


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    words = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True)]
    numbers = [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
    return "  ".join(words + numbers).rstrip()


def _short(value: float | None) -> str:
    """Three digits at least."""
    return _show(value, ".3g" if value is not None and value < 100 else ",.0f")


def _show(value: Any, form: str) -> str:
    return "-" if value is None else format(value, form)
