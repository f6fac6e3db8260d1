"""The files of a study: NAME.csv, NAME.png, NAME.svg, NAME.md, and NAME.claims.csv where it has claims."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from export.lab import markdown, table, written
from export.lab.indecision import in_words
from export.lab.plan import Measured
from export.lab.record import Record

if TYPE_CHECKING:
    from export.lab.study import Study

SMALL = "Small networks: these numbers say nothing."
PRODUCTS = (".csv", ".png", ".svg", ".md", ".claims.csv")


def write(study: Study, measured: Sequence[Measured], folder: Path, *, small: bool) -> list[Path]:
    """All files, each whole or as it was before; returns their paths."""
    rows = table.rows(measured, study.columns)
    name = study.name
    made: dict[str, bytes] = {
        f"{name}.csv": table.as_csv(rows).encode(),
        **written.pictures(name, lambda figure: study.draw(figure, measured), SMALL if small else ""),
        f"{name}.md": _page(study, measured, rows, small).encode(),
    }
    if claims := table.claims(measured):
        made[f"{name}.claims.csv"] = table.as_csv(claims).encode()
    return written.write(folder, made)


def _page(study: Study, measured: Sequence[Measured], rows: Sequence[table.Row], small: bool) -> str:
    records = [record for one in measured for record in one.heat.every]
    parts = [f"# {study.title}", f"Source: {study.source}."]
    if small:
        parts.append(f"**{SMALL}**")
    parts += [_where(records), study.paragraph(measured), f"![{study.title}]({study.name}.png)"]
    findings = [finding for one in measured for finding in one.findings]
    if findings:
        parts.append(
            "## What was published, and what was measured here\n\n" + markdown.claims_table(findings)
        )
    parts.append(
        "## Measured\n\n" + markdown.measured_table(rows) + "\n\n"
        f"Milliseconds of one call; all columns are in {study.name}.csv, every sample in {study.name}.jsonl. "
        + in_words(records)
    )
    warned = [
        f"- {record.runtime}, {record.name}: {'; '.join(odd)}"
        for record in records
        if (odd := record.warnings())
    ]
    if warned:
        parts.append("## Odd while it was measured\n\n" + "\n".join(dict.fromkeys(warned)))
    missing = [
        f"- {one.runtime}, {one.plan.key}: {name}: {why}"
        for one in measured
        for name, why in one.heat.missing.items()
    ]
    if missing:
        parts.append("## Not measured\n\n" + "\n".join(missing))
    return "\n\n".join(parts) + "\n"


def _where(records: Sequence[Record]) -> str:
    if not records:
        return "Nothing was measured."
    machines = {f"{one.machine['processor']} ({one.machine['cpus']} CPUs)" for one in records}
    gpus = {
        f"{gpu.get('name')} (driver {gpu.get('driver_version')})"
        for one in records
        if one.device == "gpu" and (gpu := one.conditions["before"].get("gpu"))
    }
    versions = {f"{name} {version}" for one in records for name, version in one.versions.items()}
    dates = sorted({one.date[:10] for one in records})
    load = [one.conditions[when].get("load") for one in records for when in ("before", "after")]
    known = [value for value in load if value is not None]
    return (
        f"Measured on {', '.join(sorted(machines | gpus))}"
        + f", {' to '.join(dict.fromkeys((dates[0], dates[-1])))}, with {', '.join(sorted(versions))}."
        + (f" Load average from {min(known):.1f} to {max(known):.1f}." if known else "")
    )
