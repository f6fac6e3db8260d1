"""docs/results/models.md: all measured rows as one page, what they come to at its top.

From models.jsonl (model_table.py), half_error.jsonl (half_error.py), latency_ratio.jsonl (latency_ratio.py),
parity.json (`make parity`) and the twins' figures, torch_twins.jsonl (torch_twins.py) or, where it was
measured on the reference code and is smaller, REFERENCE.
"""

import statistics
from collections.abc import Iterable
from typing import Any

from results import BATCHES, PRECISIONS, batch_key, read, read_by_batch

# Measured on the reference code (torch 2.13, timm 1.0.31; the official code of UniFormer and PyramidTNT), at
# batch 1, each fused by its own method where it has one: nodes, kernels and those that only move data in
# float32, the same two in float16. The better of these and of torch_twins.jsonl is what we compare with.
REFERENCE = {
    "resnet50": (122, 58, 2, 58, 2),
    "next_vit_s": (293, 161, 24, 137, 8),
    "next_vit_b": (433, 237, 36, 201, 12),
    "next_vit_l": (573, 313, 48, 265, 16),
    "fastvit_t8": (154, 57, 1, 61, 5),
    "fastvit_s12": (174, 65, 1, 69, 5),
    "fastvit_sa12": (145, 80, 3, 86, 9),
    "fastvit_ma36": (547, 222, 25, 214, 17),
    "swin_t": (529, 189, 61, 155, 1),
    "uniformer_s": (481, 254, 24, 233, 13),
    "pyramid_tnt_s": (780, 324, 23, 360, 11),
}

HEADER = """# Every model, measured

<!-- written by tests/benchmarks/model_table.py: do not edit by hand -->
"""
TRAINED_LIMIT = 1e-3  # export/parity.py, FP16_TRAINED_LIMIT
PICTURE = "../images/latency-ratio.svg"


GOALS = """
The goals: never more kernels than the twin and a tenth fewer in the median; latency in ONNX Runtime never
above the twin's, and 0.95 of it in the median. *Never more* holds for every model. *A tenth fewer* holds in
float32 against the fused twins; not in float16, and not over all timm twins, of which nearly half are plain
convolutional networks where either side leaves one kernel a layer. The goals for latency are not reached: see
below, and [export-decisions.md](../export-decisions.md#what-it-does-not-cost)."""


def text() -> str:
    """The page."""
    parts = [*summary(), *parities(), *economy(1), *economy(8), *seconds(), *failures()]
    return "\n".join([HEADER, *parts]) + "\n"


def summary() -> list[str]:
    """Medians over the models, each with what it is a median of."""
    rows, twins = read("models.jsonl"), read_by_batch("torch_twins.jsonl")
    lines = [
        "## In short\n",
        "Ratios are ours / theirs, below 1 is better. *Fused twins*: the reference code in its own fused "
        "form, measured before this project began; *timm twins*: every model that timm has, "
        "reparameterised, for each figure the best of both exporters with and without onnxslim.\n",
        "| what | against | models | median | smallest to largest |",
        "|---|---|---|---|---|",
    ]
    for index, precision in ((1, "fp32"), (3, "fp16")):
        found = {n: kernels(rows, n, precision, 1) for n in REFERENCE}
        ratios = [ours / REFERENCE[n][index] for n, ours in found.items() if ours]
        lines.append(spread(f"kernels {precision}, batch 1", "fused twins", ratios))
    for batch in BATCHES:
        for precision in PRECISIONS:
            pairs = [
                (kernels(rows, name, precision, batch), row[precision]["kernels"])
                for (name, at), row in twins.items()
                if at == batch
            ]
            ratios = [ours / theirs for ours, theirs in pairs if ours and theirs]
            lines.append(spread(f"kernels {precision}, batch {batch}", "timm twins", ratios))
    latency = read_by_batch("latency_ratio.jsonl")
    for batch in BATCHES:
        ratios = [row["ratio"] for (_, at), row in latency.items() if at == batch]
        lines.append(spread(f"ONNX Runtime latency, batch {batch}", "timm twins", ratios))
    half = read("half_error.jsonl")
    fp32 = [row["fp32"]["parity"] for row in rows.values() if row.get("fp32", {}).get("parity") is not None]
    exports = [row["export_seconds"] for row in rows.values() if "export_seconds" in row]
    builds = [row[p][batch_key(8)]["seconds"] for row in rows.values() for p in PRECISIONS if built(row, p)]
    lines += [
        spread("error of the float32 file", "JAX", fp32, ".1e"),
        spread(
            "error of the float16 file, all roundings", "float32", [r["error"] for r in half.values()], ".1e"
        ),
        spread("seconds of an export", "", exports, ".1f"),
        spread("seconds of an engine build", "", builds, ".1f"),
    ]
    islands = [name for name, row in half.items() if row["islands"]]
    close = sum(row["error"] <= TRAINED_LIMIT for row in half.values())
    lines.append(
        f"\n{len(half) - len(islands)} of {len(half)} float16 files need no float32 island"
        + (f"; those that do: {', '.join(map(link, islands))}" if islands else "")
        + f". {close} are within {TRAINED_LIMIT:.0e}, the limit of trained models, with random weights too."
    )
    return [*lines, GOALS, *latency_summary(latency)]


def latency_summary(latency: dict[tuple[str, int], dict]) -> list[str]:
    """Which latencies differ at all, and what was measured."""
    if not latency:
        return []
    row = next(iter(latency.values()))
    versions = ", ".join(f"{name} {version}" for name, version in sorted(row["versions"].items()))
    slower = [key for key, found in latency.items() if found["low"] > 1]
    faster = [key for key, found in latency.items() if found["high"] < 1]
    lines = [
        f"\nLatency is that of ONNX Runtime on two CPU cores ({versions}), float32, one thread at batch 1 "
        "and two at batch 8; both files have the same weights and images and agree within 1e-5. They were "
        "timed in turns in one process, against the fastest of the twin's four files at that batch; "
        "intervals are 95 % by bootstrap. Other programs ran on the machine meanwhile: in rows marked "
        "`clean` in latency_ratio.jsonl calls that the system interrupted do not count, and where hardly any "
        "was left alone (long ones, `clean` false), lower quartiles stand for the medians. Both sides spend "
        "most of their time in the same matrix products and convolutions, which leaves little to win: of "
        f"{len(latency)} ratios {len(faster)} are below 1 beyond their interval and {len(slower)} above"
        + (": " + ", ".join(f"{link(n)} at batch {b}" for n, b in slower) if slower else "")
        + ".\n",
        f"![latency in ONNX Runtime, ours as a share of the twin's]({PICTURE})\n",
    ]
    return lines


def kernels(rows: dict[str, dict], name: str, precision: str, batch: int) -> int | None:
    return rows.get(name, {}).get(precision, {}).get(batch_key(batch), {}).get("kernels")


def built(row: dict, precision: str) -> bool:
    return "seconds" in row.get(precision, {}).get(batch_key(8), {})


def spread(what: str, against: str, values: Iterable[float], form: str = ".3f") -> str:
    """A row of the summary."""
    values = sorted(values)
    if not values:
        return f"| {what} | {against} | 0 | - | - |"
    middle, low, high = statistics.median(values), values[0], values[-1]
    return f"| {what} | {against} | {len(values)} | {middle:{form}} | {low:{form}} to {high:{form}} |"


def parities() -> list[str]:
    """Every form of a model against the others."""
    from hvjax import info
    from hvjax.registry import MODELS

    rows, parity, half = read("models.jsonl"), read("parity.json"), read("half_error.jsonl")
    lines = [
        "## Equal to the reference, in every form\n",
        "The largest difference of the logits as a share of the largest logit, all with random weights: "
        "against timm (`make parity`); of the deploy form against the training form; of the float32 ONNX "
        "file in ONNX Runtime against JAX; of the float16 file, once with its weights rounded only (what "
        "ONNX Runtime computes on a CPU) and once with every tensor rounded as the file says, on two images. "
        "*Islands*: modules that a float16 file must keep in float32 to be within 2e-3 (the limit with "
        "random weights; 1e-3 with trained ones, which are kinder). A dash: no twin in timm, or not "
        "measured.\n",
        "| model | parameters train / deploy | timm | deploy form | ONNX fp32 | fp16, weights | fp16, all | "
        "islands |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in MODELS:
        counts, row = info.facts(name), rows.get(name, {})
        cells = [
            link(name),
            f"{counts['params']:,} / {counts['params_deploy']:,}",
            share(parity.get(name, {}).get("relative_error")),
            share(row.get("fusion")),
            *(share(row.get(precision, {}).get("parity")) for precision in PRECISIONS),
            share(half.get(name, {}).get("error")),
            islands(half.get(name)),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def islands(row: dict | None) -> str:
    """Their modules and the error with them."""
    if row is None:
        return "-"
    if not row["islands"]:
        return "none"
    modules = ", ".join(f"`{island['module']}`" for island in row["islands"])
    return f"{modules} (then {row['error_after']:.1e})"


def seconds() -> list[str]:
    """How long exports, builds and answers take."""
    from hvjax.registry import MODELS

    rows, latency = read("models.jsonl"), read_by_batch("latency_ratio.jsonl")
    lines = [
        "\n## Seconds, and latency in ONNX Runtime\n",
        "*Export*: wall seconds of `export.convert` in float32 at batch 8; *build*: of TensorRT for RTX at "
        "batch 8. Both on two cores that other programs used, too. *Latency*: milliseconds of ours / of the "
        "twin's fastest file in ONNX Runtime, their ratio and its 95 % interval. **Bold**: the interval is "
        "above 1.\n",
        "| model | export | build fp32 / fp16 | latency, batch 1 | ratio | latency, batch 8 | ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in MODELS:
        row = rows.get(name, {})
        builds = [row[p][batch_key(8)]["seconds"] if built(row, p) else None for p in PRECISIONS]
        cells = [link(name), brief(row.get("export_seconds")), " / ".join(map(brief, builds))]
        for batch in BATCHES:
            found = latency.get((name, batch))
            cells += (
                [f"{found['ours_ms']:.1f} / {found['theirs_ms']:.1f}", ratio(found)] if found else ["-", "-"]
            )
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def ratio(row: dict) -> str:
    value = f"{row['ratio']:.3f}"
    value = f"**{value}**" if row["low"] > 1 else value
    return f"{value} ({row['low']:.3f} to {row['high']:.3f})"


def brief(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def twin_of(name: str, batch: int, twins: dict[tuple[str, int], dict]) -> tuple[Any, ...]:
    """Nodes, kernels and moves in float32, the same two in float16: the smallest known, or None."""
    found = []
    if (name, batch) in twins:
        fp32, fp16 = (twins[name, batch][precision] for precision in PRECISIONS)
        found.append(
            (fp32["nodes"], fp32["kernels"], fp32["fewest_moves"], fp16["kernels"], fp16["fewest_moves"])
        )
    if batch == 1 and name in REFERENCE:
        found.append(REFERENCE[name])
    columns = [[row[i] for row in found if row[i] is not None] for i in range(5)]
    return tuple(min(column) if column else None for column in columns)


def economy(batch: int) -> list[str]:
    """What the files and their engines cost at one batch."""
    from hvjax.registry import MODELS

    rows, twins = read("models.jsonl"), read_by_batch("torch_twins.jsonl")
    lines = [
        f"\n## Nodes and kernels at batch {batch}\n",
        "Kernels are those that TensorRT for RTX leaves, in brackets those that only move data. The torch "
        "twin is the timm model with random weights, reparameterised, exported both ways that torch knows, "
        "each figure the smallest of the files"
        + ("; or, where that is smaller, what was measured on the reference code" if batch == 1 else "")
        + ". **Bold**: more than the twin has.\n",
        "| model | nodes ours / torch | Transposes | kernels fp32 ours / torch | kernels fp16 ours / torch |",
        "|---|---|---|---|---|",
    ]
    for name in MODELS:
        row = rows.get(name, {})
        fp32, fp16 = (row.get(precision, {}).get(batch_key(batch), {}) for precision in PRECISIONS)
        nodes, kernels, moves, half, half_moves = twin_of(name, batch, twins)
        cells = [
            link(name),
            against(fp32.get("nodes"), nodes),
            show(fp32.get("transposes")),
            against(fp32.get("kernels"), kernels, fp32.get("moves"), moves),
            against(fp16.get("kernels"), half, fp16.get("moves"), half_moves),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def failures() -> list[str]:
    """What could not be measured, and why."""
    failed = []
    for name, row in read("models.jsonl").items():
        parts = [(f"{p}, {b}", row.get(p, {}).get(batch_key(b), {})) for p in PRECISIONS for b in BATCHES]
        failed += [f"- {name}, {part}: {found['error']}" for part, found in parts if "error" in found]
        failed += [f"- {name}: {row['error']}"] if "error" in row else []
    return ["\n## What failed\n", *failed] if failed else []


def link(name: str) -> str:
    return f"[{name}](../models/{name}.md)"


def share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1e}"


def show(value: Any) -> str:
    return "-" if value is None else str(value)


def against(ours: int | None, theirs: int | None, moves: int | None = None, their_moves: Any = None) -> str:
    """`ours (moves) / theirs (moves)`, ours in bold if it is more."""
    found = show(ours) if moves is None else f"{ours} ({moves})"
    other = show(theirs) if their_moves is None else f"{theirs} ({their_moves})"
    worse = ours is not None and theirs is not None and ours > theirs
    return f"**{found}** / {other}" if worse else f"{found} / {other}"
