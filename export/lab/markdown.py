"""Tables of a study's page: what was measured, and what became of the claims."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from export.lab.claim import Finding
from export.lab.runtimes.memory import total
from export.lab.table import KNOWN, MEMORY, Row, cell

#: Columns that are shown only where their values differ.
_PLACES = ("plan", "runtime", "precision", "batch", "image_size")


def measured_table(rows: Sequence[Row]) -> str:
    """The columns that a reader wants first, and the study's own; the CSV file has all."""
    if not rows:
        return "Nothing was measured."
    places = [name for name in _PLACES if len({str(one.get(name)) for one in rows}) > 1]
    own = [name for name in dict.fromkeys(name for one in rows for name in one) if _own(name)]
    heads = ["name", *places, *_SHOWN, *own]
    return table(heads, [[_shown(one, head) for head in heads] for one in rows])


def claims_table(findings: Sequence[Finding]) -> str:
    """One line per claim, runtime and setting."""
    heads = ("claim", "source", "where", "published ratio", "measured ratio", "outcome")
    return table(heads, [_claim(one) for one in findings])


def table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Markdown; a cell may hold anything."""
    every = [heads, ["---"] * len(heads), *lines]
    return "\n".join("| " + " | ".join(text.replace("|", "\\|") for text in line) + " |" for line in every)


def _claim(one: Finding) -> list[str]:
    verdict = one.verdict
    return [
        one.claim.text,
        one.claim.source,
        f"{one.runtime}, {one.setting.get('precision')}, batch {one.setting.get('batch')}",
        "" if one.claim.published is None else f"{one.claim.published:.3g}",
        "" if verdict is None else _between(verdict.ratio, verdict.low, verdict.high, ".3f"),
        one.outcome,
    ]


def _own(name: str) -> bool:
    return name not in KNOWN and not name.startswith(MEMORY)


def _shown(one: Row, head: str) -> str:
    return _SHOWN[head](one) if head in _SHOWN else cell(one.get(head))


def _between(value: float, low: float, high: float, form: str) -> str:
    return f"{value:{form}} ({low:{form}} to {high:{form}})"


def _ratio(one: Row) -> str:
    if one["ratio"] is None:
        return "1"
    return _between(one["ratio"], one["ratio_low"], one["ratio_high"], ".3f")


def _memory(one: Row) -> int | None:
    return total({name.removeprefix(MEMORY): one[name] for name in one if name.startswith(MEMORY)})


def _number(value: Any, form: str) -> str:
    return "" if value is None else f"{value:{form}}"


_SHOWN: Mapping[str, Callable[[Row], str]] = {
    "Mparams": lambda one: "" if one["params"] is None else f"{one['params'] / 1e6:.2f}",
    "GMACs": lambda one: _number(one["gmacs"], ".3g"),
    "ms (95 % interval)": lambda one: _between(one["typical_ms"], one["low_ms"], one["high_ms"], ".4g"),
    "p99 ms": lambda one: _number(one["p99_ms"], ".4g"),
    "ratio to": lambda one: one["reference"] or "(reference)",
    "ratio (95 % interval)": _ratio,
    "verdict": lambda one: one["verdict"] or "",
    "TFLOPS": lambda one: _number(one["teraflops"], ".3g"),
    "MiB": lambda one: "" if (held := _memory(one)) is None else f"{held / 2**20:.0f}",
}
