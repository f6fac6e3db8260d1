"""What the bench prints and writes: a table for the terminal, CSV, pictures, a page to sort."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from export.lab import agree, agree_picture, bench_html, bench_picture, table, written
from export.lab.bench_rows import Row, conditions, groups, label, place, size
from export.lab.outputs import SMALL

NAME, AGREEMENT = "bench", "agreement"
ENDINGS = (".csv", ".png", ".svg", ".html")
HEADS = (
    *("model", "px", "ms", "95 % interval", "p99", "images/s"),
    *("ratio", "95 % interval", "verdict", "MiB"),
)


def cells(row: Row) -> list[str]:
    """The row under `HEADS`."""
    found, verdict, held = row.summary, row.verdict, row.bytes
    word = "(reference)" if row.record.name == row.reference else "-"
    return [
        label(row.record),
        size(row.record),
        f"{found.typical:.4g}",
        f"{found.low:.4g} to {found.high:.4g}",
        f"{found.p99:.4g}",
        per_second(row),
        f"{verdict.ratio:.3f}" if verdict else "",
        f"{verdict.low:.3f} to {verdict.high:.3f}" if verdict else "",
        verdict.word if verdict else word,
        "" if held is None else f"{held / 2**20:.0f}",
    ]


def per_second(row: Row) -> str:
    """Images a second, with three digits at least."""
    return f"{row.images_per_second:,.0f}" if row.images_per_second >= 100 else f"{row.images_per_second:.3g}"


def as_text(found: Sequence[Row]) -> str:
    """A table per runtime and setting, for a terminal."""
    parts = [
        f"{conditions(together)}\n\n{columns([list(HEADS), *map(cells, together)])}"
        for together in groups(found).values()
    ]
    return "\n\n".join(parts) + "\n"


def columns(lines: Sequence[Sequence[str]]) -> str:
    """The first column to the left, the others to the right."""
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    return "\n".join(
        "  ".join(text.rjust(width) if at else text.ljust(width) for at, (text, width) in enumerate(pairs))
        for pairs in ([*zip(line, widths, strict=True)] for line in lines)
    )


def products(folder: Path) -> list[Path]:
    """The files that `write` writes."""
    return [folder / f"{NAME}{ending}" for ending in ENDINGS]


def write(found: Sequence[Row], missing: Sequence[str], folder: Path, *, small: bool) -> list[Path]:
    """All files, each whole or as it was before; returns their paths."""
    models = len({label(row.record) for row in found})
    title = f"Latency of {models} models" if models > 1 else f"Latency of {label(found[0].record)}"
    note = SMALL if small else ""
    return written.write(
        folder,
        {
            f"{NAME}.csv": table.as_csv([as_row(row) for row in found]).encode(),
            **written.pictures(NAME, lambda figure: bench_picture.draw(figure, found, title=title), note),
            f"{NAME}.html": bench_html.page(found, missing, title=title, note=note).encode(),
        },
    )


def as_row(row: Row) -> table.Row:
    """Of the CSV file: the columns of the studies, and what tells series apart."""
    record = row.record
    return {
        **table.row(record, row.reference, row.verdict),
        "form": record.subject.get("form"),
        "part": record.subject.get("part"),
        **{key: value for key, value in record.setting.items() if key not in ("batch", "precision")},
        "machine": place(record),
        "date": record.date,
        "heat": record.heat,
    }


def write_agreement(
    found: Sequence[agree.Agreement], alone: int, folder: Path, reference: str | None
) -> list[Path]:
    """agreement.csv (a row per contender), agreement.png, .svg and .md."""
    lines = [
        {
            "runtime": one.runtime,
            "name": pair.name,
            "precision": pair.first.record.setting["precision"],
            "batch": pair.first.record.setting["batch"],
            "first_ms": pair.first.summary.typical,
            "second_ms": pair.second.summary.typical,
            "first_ratio": None if pair.ratios is None else pair.ratios[0],
            "second_ratio": None if pair.ratios is None else pair.ratios[1],
            "ratio_intervals_overlap": pair.ratio_meets(),
            "time_intervals_overlap": pair.time_meets(),
            "flipped": pair.flipped(),
        }
        for one in found
        for pair in one.pairs
    ]
    said = "# Two full runs\n\n" + agree.as_markdown(found, alone)
    return written.write(
        folder,
        {
            f"{AGREEMENT}.csv": table.as_csv(lines).encode(),
            **written.pictures(
                AGREEMENT, lambda figure: agree_picture.draw(figure, found, reference=reference)
            ),
            f"{AGREEMENT}.md": f"{said}\n\n![two runs]({AGREEMENT}.png)\n".encode(),
        },
    )
