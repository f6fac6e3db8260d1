"""The charts of report.html: small functions from numbers to SVG text, coloured by the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

#: Pixels of the drawing; the page scales it to its width.
WIDTH = 720
_LABEL, _VALUE, _ROW, _BAR = 132, 118, 30, 16
#: Relative errors are drawn between these powers of ten; float32 rounding is near 1e-7.
_LOW, _HIGH = -9, 0


def stage_errors(
    stages: Sequence[Mapping[str, Any]],
    limit: float,
    noise: Mapping[str, float],
    begins_at: str | None,
    final: str,
) -> str:
    """Relative error of each stage on a logarithmic axis, the limit of the final output as a line."""
    height = _ROW * len(stages) + 40
    parts = [_axis(height)]
    wrong = False
    for row, stage in enumerate(stages):
        top = 8 + row * _ROW
        wrong = wrong or stage["stage"] == begins_at
        parts.append(_text(_LABEL - 10, top + 13, str(stage["stage"]), "end", "label"))
        relative = stage.get("relative")
        if not stage["present"] and not wrong:
            parts.append(_text(_LABEL + 6, top + 13, "folded into its neighbours", "start", "note"))
            continue
        kind = "bad" if wrong else ("good" if stage["stage"] == final else "bar")
        end = _x(relative) if relative is not None else _x(1.0)
        value = _exponent(relative) if relative is not None else "not found"
        parts.append(_bar(_LABEL, top, end - _LABEL, kind, f"{stage['stage']}: {value}"))
        parts.append(_text(WIDTH - 4, top + 13, value, "end", "value"))
        if noise.get(str(stage["stage"]), 1.0) < 0.1:  # larger: the two forms differ there by design
            x = _x(noise[str(stage["stage"])])
            parts.append(
                f'<line class="noise" x1="{x:.1f}" x2="{x:.1f}" y1="{top - 3}" y2="{top + _BAR + 3}"/>'
            )
    x, bottom = _x(limit), height - 30
    parts.append(f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{bottom}"/>')
    return _svg(height, parts, "Relative error of each stage")


def bars(values: Iterable[tuple[str, float, str, str]], title: str) -> str:
    """Horizontal bars from (label, length, text beside it, style class)."""
    rows = list(values)
    longest = max((length for _, length, _, _ in rows), default=1) or 1
    parts = []
    for row, (label, length, text, kind) in enumerate(rows):
        top = 4 + row * _ROW
        width = max(2.0, (WIDTH - _LABEL - _VALUE) * length / longest)
        parts.append(_text(_LABEL - 10, top + 13, label, "end", "label"))
        parts.append(_bar(_LABEL, top, width, kind, f"{label}: {text}"))
        parts.append(_text(_LABEL + width + 6, top + 13, text, "start", "value"))
    return _svg(4 + _ROW * len(rows), parts, title)


def split(values: Sequence[tuple[str, int, str]], title: str) -> str:
    """One bar cut into parts: (label, amount, style class), labels below."""
    total = sum(amount for _, amount, _ in values) or 1
    parts, left = [], 0.0
    for label, amount, kind in values:
        width = (WIDTH - 2) * amount / total
        parts.append(_bar(left, 4, max(0.0, width - 2), kind, f"{label}: {amount}", height=26))
        if amount and width > 30:
            parts.append(_text(left + width / 2 - 1, 22, str(amount), "middle", "inside"))
        left += width
    left = 0.0
    for label, amount, kind in values:
        parts.append(f'<rect class="{kind}" x="{left}" y="44" width="12" height="12" rx="3"/>')
        text = f"{label} ({amount})"
        parts.append(_text(left + 18, 55, text, "start", "label"))
        left += 40 + 7.2 * len(text)
    return _svg(64, parts, title)


def ranges(rows: Sequence[Mapping[str, Any]], title: str) -> str:
    """Median to 99th percentile of each latency, from zero, in milliseconds."""
    longest = max(float(row["p99_ms"]) for row in rows) or 1.0
    scale = (WIDTH - _LABEL - _VALUE) / longest
    parts = []
    for index, row in enumerate(rows):
        top = 4 + index * _ROW
        median, p95, p99 = (float(row[key]) for key in ("median_ms", "p95_ms", "p99_ms"))
        parts.append(_text(_LABEL - 10, top + 13, f"batch {row['batch']}", "end", "label"))
        parts.append(_bar(_LABEL, top, p99 * scale, "faint", f"99 % within {p99:.2f} ms"))
        parts.append(_bar(_LABEL, top, p95 * scale, "soft", f"95 % within {p95:.2f} ms"))
        parts.append(_bar(_LABEL, top, median * scale, "bar", f"median {median:.2f} ms"))
        parts.append(_text(_LABEL + p99 * scale + 6, top + 13, f"{median:.2f} ms", "start", "value"))
    return _svg(4 + _ROW * len(rows), parts, title)


def _axis(height: int) -> str:
    parts = []
    for power in range(_LOW, _HIGH + 1):
        x, bottom = _x(10.0**power), height - 30
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{bottom}"/>')
        if power % 2:
            parts.append(_text(x, height - 14, _power(power), "middle", "tick"))
    return "".join(parts)


def _power(power: int) -> str:
    digits = str.maketrans(
        "-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"
    )
    return "10" + str(power).translate(digits)


def _x(value: float) -> float:
    power = math.log10(value) if value > 0 else _LOW
    share = (min(max(power, _LOW), _HIGH) - _LOW) / (_HIGH - _LOW)
    return _LABEL + share * (WIDTH - _LABEL - 84)


def _exponent(value: float) -> str:
    return f"{value:.1e}"


def _bar(x: float, y: float, width: float, kind: str, title: str, height: int = _BAR) -> str:
    size = f'x="{x:.1f}" y="{y:.1f}" width="{max(width, 1):.1f}" height="{height}"'
    return f'<rect class="{kind}" {size} rx="4"><title>{escape(title)}</title></rect>'


def _text(x: float, y: float, text: str, anchor: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(height: float, parts: Sequence[str], title: str) -> str:
    head = f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">'
    return head + "".join(parts) + "</svg>"
