"""family.html: latency by image size as a picture, and the table; one file, nothing fetched."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from export.family_table import HEAD, cells, where
from export.report_parts import bullets, card, table
from export.report_style import CSS

#: Of the drawing, in pixels: the page scales it to its width.
_WIDTH, _HEIGHT = 720, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 690, 16, 250
#: Of a label, a little more than it takes.
_CHARACTER = 9
#: Both axes begin at 0 and end this much behind the largest value.
_ROOM = 1.12


def page(data: Mapping[str, Any]) -> str:
    """The whole page. `data` is what family.json holds."""
    title = f"{data['model']} {data['precision']}: {len(data['sizes'])} image sizes"
    good = data["accepted"]
    badge = f'<span class="badge {"good" if good else "bad"}">{"accepted" if good else "rejected"}</span>'
    reasons = [
        f"{cells(row)[0]}: {reason}"
        for row in data["sizes"]
        for reason in row["reasons"]
        if not row["accepted"]
    ]
    words = "<p>Every size passed its own gate.</p>" if good else bullets(reasons)
    banner = '<div class="banner">Random weights: these models have learnt nothing.</div>'
    notices = [text for row in data["sizes"] for text in row["notices"] if "positions" in text]
    sections = (
        f"<h1>{escape(data['model'])} <code>{escape(data['precision'])}</code></h1>",
        f'<p class="what">One export for each image size, {escape(data["source"])}</p>',
        banner if data["random_weights"] else "",
        "".join(f'<div class="banner">{escape(text)}</div>' for text in notices),
        f'<div class="card verdict">{badge}<div>{words}</div></div>',
        _latency(data),
        _table(data),
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>{CSS}</style></head>\n"
        f"<body><main>{''.join(sections)}</main></body></html>\n"
    )


def _latency(data: Mapping[str, Any]) -> str:
    points = [
        (float(row["pixels"]), float(row["latency"]["median_ms"]), cells(row)[0])
        for row in data["sizes"]
        if row["latency"]
    ]
    if not points:
        return ""
    what = (
        f"Median of a batch, by pixels of an image; {escape(where(data))}. The dashed line grows with the "
        "number of pixels, from the smallest size on, as the cost of convolutions does. Above it, attention "
        "between all positions shows; below it, the smallest size does not fill the machine."
    )
    return card("Latency by image size", what, chart(points))


def chart(points: Sequence[tuple[float, float, str]]) -> str:
    """(pixels, milliseconds, label), fewest pixels first, as SVG: a line through them and a dashed one."""
    most = max(x for x, _, _ in points) * _ROOM
    slope = points[0][1] / points[0][0]
    longest = max(slope * most, *(y for _, y, _ in points)) * _ROOM

    def place(x: float, y: float) -> tuple[float, float]:
        return _LEFT + (_RIGHT - _LEFT) * x / most, _BOTTOM - (_BOTTOM - _TOP) * y / longest

    parts = []
    for step in range(5):
        value = longest * step / 4
        _, y = place(0, value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text(_LEFT - 8, y + 4, f"{value:.3g} ms", "end", "tick"))
    (x1, y1), (x2, y2) = place(0, 0), place(most, slope * most)
    parts.append(f'<line class="limit" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(px, ms) for px, ms, _ in points))
    parts.append(f'<polyline points="{line}" fill="none" stroke="var(--bar)" stroke-width="2"/>')
    last = -math.inf
    for pixels, ms, label in points:
        x, y = place(pixels, ms)
        parts.append(
            f'<circle class="bar" cx="{x:.1f}" cy="{y:.1f}" r="5"><title>{escape(label)}: {ms:.2f} ms</title>'
            "</circle>"
        )
        # labels of near sizes take turns in two rows
        low = x - last < _CHARACTER * len(label)
        parts.append(_text(x, y + 22 if low else y - 11, f"{ms:.3g}", "middle", "value"))
        parts.append(_text(x, _BOTTOM + (36 if low else 18), label, "middle", "tick"))
        last = -math.inf if low else x
    head = f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="Latency by image size">'
    return head + "".join(parts) + "</svg>"


def _table(data: Mapping[str, Any]) -> str:
    rows = []
    for row in data["sizes"]:
        size, verdict, *numbers = (escape(cell) for cell in cells(row))
        kind = "pass" if row["accepted"] else "fail"
        link = f'<a href="{escape(row["folder"])}/report.html">{size}</a>' if row["folder"] else size
        rows.append((link, f'<span class="{kind}">{verdict}</span>', *numbers))
    what = (
        "Each size links to its own report. Error: ONNX file against JAX, of the largest value of the worst "
        "output. Kernels: in brackets those that only move data. Nanoseconds a pixel: of one image of the "
        "batch."
    )
    return card("Sizes", what, table(HEAD, rows, numbers=range(2, len(HEAD))))


def _text(x: float, y: float, words: str, anchor: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
