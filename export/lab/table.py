"""Rows of a study's table: one per contender and setting."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from export.lab.plan import Measured, Row
from export.lab.record import Record
from export.lab.verdict import Verdict

_MILLI, _TERA, _GIGA = 1e-3, 1e12, 1e9
MEMORY = "memory_"  # prefix of the columns that hold bytes, of `Ready.memory`
#: Columns that every study has, beside those of memory.
KNOWN = frozenset(
    ("plan", "name", "runtime", "device", "precision", "batch", "image_size", "params", "gmacs",
     "typical_ms", "low_ms", "high_ms", "min_ms", "median_ms", "p90_ms", "p95_ms", "p99_ms", "calls",
     "clean", "reference", "ratio", "ratio_low", "ratio_high", "verdict", "teraflops", "teraparams",
     "images_per_second", "warnings")
)  # fmt: skip


def rows(
    measured: Iterable[Measured], columns: Callable[[Measured, str], Mapping[str, Any]] = lambda one, name: {}
) -> list[Row]:
    """All contenders in the order of the plans; `columns` adds a study's own."""
    return [
        {
            "plan": one.plan.key,
            **row(record, one.reference, _against(one, name)),
            **columns(one, name),
        }
        for one in measured
        for name, record in one.heat.records.items()
    ]


def _against(one: Measured, name: str) -> Verdict | None:
    if one.reference is None or one.reference == name:
        return None
    try:
        return one.heat.against(name, one.reference)
    except KeyError:  # the reference failed in the heat of this one
        return None


def row(record: Record, reference: str | None, verdict: Verdict | None) -> Row:
    """`verdict`: of it against the contender called `reference`; None for itself. Times in milliseconds for
    one call. TeraFLOPS = 2 MACs x batch / latency / 1e12 and TeraParams = params / latency / 1e12 as in
    TRT-ViT (arXiv 2205.09579, section 3)."""
    found, subject, setting = record.summary(), record.subject, record.setting
    seconds = found.typical * _MILLI
    batch = setting["batch"]
    made: Row = {
        "name": record.name,
        "runtime": record.runtime,
        "device": record.device,
        "precision": setting["precision"],
        "batch": batch,
        "image_size": "x".join(map(str, subject.get("image_size", ()))),
        "params": subject.get("params"),
        "gmacs": None if subject.get("macs") is None else subject["macs"] / _GIGA,
        "typical_ms": found.typical,
        "low_ms": found.low,
        "high_ms": found.high,
        "min_ms": found.minimum,
        "median_ms": found.median,
        "p90_ms": found.p90,
        "p95_ms": found.p95,
        "p99_ms": found.p99,
        "calls": found.calls,
        "clean": found.clean,
        "reference": None,
        "ratio": None,
        "ratio_low": None,
        "ratio_high": None,
        "verdict": None,
        "teraflops": None if subject.get("macs") is None else 2 * subject["macs"] * batch / seconds / _TERA,
        "teraparams": None if subject.get("params") is None else subject["params"] / seconds / _TERA,
        "images_per_second": batch / seconds,
        "warnings": "; ".join(record.warnings()),
    }
    if verdict is not None:
        made |= {
            "reference": reference,
            "ratio": verdict.ratio,
            "ratio_low": verdict.low,
            "ratio_high": verdict.high,
            "verdict": verdict.word,
        }
    return made | {f"{MEMORY}{what}": count for what, count in record.memory.items()}


def claims(measured: Iterable[Measured]) -> list[Row]:
    """A row per claim, runtime and setting: what was published, what was measured, what became of it."""
    return [
        {
            "plan": one.plan.key,
            "claim": finding.claim.text,
            "source": finding.claim.source,
            "a": finding.claim.a,
            "b": finding.claim.b,
            "word": finding.claim.word,
            "published": finding.claim.published,
            "runtime": finding.runtime,
            "device": next((record.device for record in one.heat.records.values()), None),
            "precision": finding.setting.get("precision"),
            "batch": finding.setting.get("batch"),
            "ratio": None if finding.verdict is None else finding.verdict.ratio,
            "ratio_low": None if finding.verdict is None else finding.verdict.low,
            "ratio_high": None if finding.verdict is None else finding.verdict.high,
            "outcome": finding.outcome,
        }
        for one in measured
        for finding in one.findings
    ]


def as_csv(table: Sequence[Row]) -> str:
    """Columns in the order in which rows first have them; numbers with six digits, which is more than they
    have."""
    names = list(dict.fromkeys(name for one in table for name in one))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: cell(value) for name, value in one.items()} for one in table)
    return text.getvalue()


def cell(value: Any) -> str:
    """As text; nothing for None."""
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
