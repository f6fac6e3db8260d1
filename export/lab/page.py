"""docs/latency.md: what the committed results say, in words and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from export.lab import agree, markdown
from export.lab.bench_files import HEADS, cells
from export.lab.bench_rows import Row, conditions, groups, place, rows, setting_words
from export.lab.claim import NOT_MEASURED, NOT_REPRODUCED, REPRODUCED
from export.lab.indecision import indecision
from export.lab.record import Record
from export.lab.verdict import CANNOT_TELL

#: The largest share of "cannot tell" that the lab is content with.
GOAL = 0.20
#: The study of the calibrator's records.
PROBES = "calibrate"
OUTCOMES = (REPRODUCED, NOT_REPRODUCED, CANNOT_TELL, NOT_MEASURED)
GPU_WORDS = (
    "**No figure of a GPU has been measured yet.** Every command of the lab runs there, and what is CUDA's "
    "and TensorRT's part is tested with stand-ins only ([never run](never_run.md)). "
    "`python tests/benchmarks/gpu_lab.py` measures all of this page on one, in calls of ten minutes; its "
    "results belong in `docs/results/gpu`, and this page then shows them here."
)


@dataclass(frozen=True)
class StudyPage:
    """One study: its `name`, what it is about (`title`), the `link` of its committed page or None, and the
    rows of its NAME.claims.csv files."""

    name: str
    title: str
    link: str | None
    claims: Sequence[Mapping[str, str]] = ()


@dataclass(frozen=True)
class Results:
    """What is committed.

    Attributes:
      bench: records of `export.bench`, first run; again: of the same command once more.
      every: records of all stores.
      studies: in the order of the page.
      pictures: links to pictures of the bench, and of two runs, where they are: title -> path.
    """

    bench: Sequence[Record] = ()
    again: Sequence[Record] = ()
    every: Sequence[Record] = ()
    studies: Sequence[StudyPage] = ()
    pictures: Mapping[str, str] | None = None


def page(results: Results) -> str:
    """Everything below the page's introduction."""
    found = rows(results.bench)
    cpu = [row for row in found if row.record.device == "cpu"]
    gpu = [row for row in found if row.record.device == "gpu"]
    parts = [
        "## Where it was measured\n\n" + _machines(results.every),
        "## Models on a CPU\n\n"
        + _models(cpu, "`python -m export.bench` has not been run for this page yet."),
        *(f"![{title}]({path})" for title, path in (results.pictures or {}).items()),
        "## Models on a GPU\n\n" + _models(gpu, _no_gpu(results.every)),
        "## What was published, and what came of it\n\n" + _claims(results.studies),
        "## How often the method cannot tell\n\n" + _indecision(results.every),
        "## Two full runs\n\n" + _agreement(results),
    ]
    return "\n\n".join(parts) + "\n"


def _machines(records: Sequence[Record]) -> str:
    if not records:
        return "Nothing has been measured yet."
    series: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        series.setdefault((place(record), record.runtime), []).append(record)
    lines = []
    for (machine, runtime), together in series.items():
        dates = sorted({record.date[:10] for record in together})
        said = {version for record in together for version in _version(record)}
        odd = sum(bool(record.warnings()) for record in together)
        lines.append(
            [
                machine,
                runtime,
                ", ".join(sorted(said)),
                " to ".join(dict.fromkeys((dates[0], dates[-1]))),
                str(len(together)),
                str(odd),
            ]
        )
    heads = ("machine", "runtime", "versions", "dates", "measurements", "with something odd")
    return markdown.table(heads, lines) + (
        "\n\nOdd is what may have changed a time: a busy machine, a clock that moved, a drift; each record "
        "and each study's page says what."
    )


def _version(record: Record) -> list[str]:
    shown = ("jax", "jaxlib", "onnxruntime", "onnxruntime-gpu", "tensorrt", "tensorrt-rtx-cu13-libs", "torch")
    return [f"{name} {record.versions[name]}" for name in shown if name in record.versions]


def _models(found: Sequence[Row], nothing: str) -> str:
    if not found:
        return nothing
    heads = [*HEADS, "M params", "GMACs"]
    parts = []
    for together in groups(found).values():
        first = together[0].record
        lines = [[*cells(row), _in(row, "params", 1e6), _in(row, "macs", 1e9)] for row in together]
        parts.append(
            f"### {first.runtime}, {setting_words(first)}: {place(first)}\n\n{conditions(together)} "
            f"Ratios are to {together[0].reference}.\n\n{markdown.table(heads, lines)}"
        )
    return "\n\n".join(parts)


def _in(row: Row, key: str, unit: float) -> str:
    value = row.record.subject.get(key)
    return f"{value / unit:.2f}" if isinstance(value, int | float) else ""


def _no_gpu(records: Sequence[Record]) -> str:
    if any(record.device == "gpu" for record in records):
        return "The studies have been run on a GPU, `python -m export.bench` has not."
    return GPU_WORDS


def _claims(studies: Sequence[StudyPage]) -> str:
    parts, counts = [], []
    for study in studies:
        done = [one for one in study.claims if one["outcome"] != NOT_MEASURED]
        name = f"[{study.name}]({study.link})" if study.link else study.name
        numbers = [str(sum(one["outcome"] == word for one in study.claims)) for word in OUTCOMES]
        counts.append([name, study.title, *(numbers if study.claims else ["-"] * len(OUTCOMES))])
        if done or study.claims:
            parts.append(f"### {study.name}\n\n{_claim_table(study.claims)}")
        elif not study.link:
            parts.append(
                f"### {study.name}\n\nNot measured yet: `python -m export.studies.{study.name}` does it."
            )
    every = [one for study in studies for one in study.claims]
    where = sorted({f"{one['runtime']} ({one['device'] or '?'})" for one in every})
    said = f"Counted once for each runtime and setting: {', '.join(where)}." if where else ""
    gpu = any(one["device"] == "gpu" for one in every)
    said += "" if gpu else (
        " The studies were published for TensorRT on GPUs, and for phones: what is said here of a CPU says "
        "whether a trend holds there, not whether the paper is right. On a GPU nothing has been measured yet."
    )  # fmt: skip
    table = markdown.table(("study", "about", *OUTCOMES), counts)
    return "\n\n".join([said.strip(), table, *parts])


def _claim_table(claims: Sequence[Mapping[str, str]]) -> str:
    heads = ("claim", "source", "where", "published ratio", "measured ratio (95 % interval)", "outcome")
    lines = []
    for one in claims:
        ratio = (
            f"{float(one['ratio']):.3f} ({float(one['ratio_low']):.3f} to {float(one['ratio_high']):.3f})"
            if one["ratio"]
            else ""
        )
        published = f"{float(one['published']):.3g}" if one["published"] else ""
        where = f"{one['runtime']}, {one['precision']}, batch {one['batch']}"
        where += ", on a GPU" if one["device"] == "gpu" else ""
        lines.append([one["claim"], one["source"], where, published, ratio, one["outcome"]])
    return markdown.table(heads, lines)


def _indecision(records: Sequence[Record]) -> str:
    if not records:
        return "Nothing has been measured yet."
    lines = []
    for runtime, count in indecision(record for record in records if record.study != PROBES).items():
        strict = count.unsure / count.every
        met = "yes" if strict <= GOAL else "without the equal ones" if count.share <= GOAL else "NO"
        numbers = [
            str(count.every),
            str(count.unsure),
            f"{strict:.0%}",
            str(count.equal),
            f"{count.share:.0%}",
        ]
        lines.append([runtime, *numbers, met])
    heads = (
        *("runtime", "verdicts", '"cannot tell"', "share", "of these, known to be equal within 3 %"),
        *("share without them", f"at most {GOAL:.0%}"),
    )
    return (
        "Verdicts of each contender against the reference of its heat, in all stores but those of the "
        "calibrator, whose probes are meant to be equal.\n\n" + markdown.table(heads, lines)
    )


def _agreement(results: Results) -> str:
    if not results.again:
        return (
            "The bench has not been run twice for this page yet: "
            "`python -m export.bench --out again`, then `python -m export.bench --agree FIRST SECOND`."
        )
    try:
        found, alone = agree.agree(results.bench, results.again)
    except ValueError as error:
        return f"The two runs cannot be compared: {error}."
    return agree.as_markdown(found, alone)
