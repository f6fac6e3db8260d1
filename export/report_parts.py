"""What the cards of report.html are put together from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any


def card(title: str, what: str, body: str) -> str:
    text = f'<p class="what">{what}</p>' if what else ""
    return f'<section class="card"><h2>{title}</h2>{text}{body}</section>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[int] = ()) -> str:
    right = set(numbers)

    def row(cells: Sequence[str], tag: str) -> str:
        marks = (' class="n"' if index in right else "" for index in range(len(cells)))
        inside = "".join(f"<{tag}{m}>{c}</{tag}>" for m, c in zip(marks, cells, strict=True))
        return f"<tr>{inside}</tr>"

    top = row(head, "th") if any(head) else ""
    return f'<div class="wide"><table>{top}{"".join(row(cells, "td") for cells in rows)}</table></div>'


def bullets(items: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"


def finite(value: Any) -> Any:
    """JSON has no infinity: null stands for it, and for what is undefined."""
    if isinstance(value, dict):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def in_short(limit: float) -> str:
    """A limit as one digit where that is exact (`1e-05`), else as two (`1.5e-01`)."""
    text = f"{limit:.0e}"
    return text if float(text) == limit else f"{limit:.1e}"


def in_bytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"
