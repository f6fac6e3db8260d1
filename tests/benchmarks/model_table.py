"""Measure every model's export and write docs/results/models.md: `model_table.py [--again] [NAME ...]`.

Per model, with random weights and real images: deploy against training form, the ONNX file (float32 and
float16) against JAX, its nodes and Transposes, the kernels of its TensorRT for RTX engine, built with no GPU
for a batch of 1 and of 8. One line of JSON per model goes to docs/results/models.jsonl; what is there already
is not measured again. The table adds parity from docs/results/parity.json (`make parity`) and the twins'
figures from docs/results/torch_twins.jsonl (torch_twins.py) or, where it was measured on the reference code
and is smaller, from REFERENCE.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "results"
#: Batches at which kernels are counted: what a builder fuses depends on it.
BATCHES = (1, 8)
PARITY_BATCH = 8
PRECISIONS = ("fp32", "fp16")
LONGEST = 1800  # seconds that one model may take

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


def measure(name: str, known: dict[str, Any]) -> dict[str, Any]:
    """Row of one model; what `known` has already is kept."""
    import count_kernels

    from export import command
    from export.load import load_source

    source = load_source(name)
    row: dict[str, Any] = {**known, "model": name, "image_size": list(source.image_size)}
    subject = None
    if missing_parity(row):
        subject = command.prepare(request(name, "fp32", PARITY_BATCH), source, source.image_size)
        compare_forms(subject, row)
    for precision in PRECISIONS:
        found = row[precision] = {**row.get(precision, {})}
        for batch in BATCHES:
            if batch_key(batch) in found and not (subject and batch == PARITY_BATCH):
                continue
            try:
                model = to_bytes(name, source, subject, precision, batch)
                if subject and batch == PARITY_BATCH:
                    found["parity"] = gate(subject, model)
                found[batch_key(batch)] = count_kernels.count(model, batch)
            except Exception as error:  # what fails is a result
                message = f"{type(error).__name__}: {str(error).splitlines()[0]}"
                found[batch_key(batch)] = {"error": message}
    return row


def request(name: str, precision: str, batch: int) -> Any:
    from export.flags import parse

    flags = f"--ckpt {name} --random-weights --via stablehlo --batch {batch} --gate-images {PARITY_BATCH}"
    return parse("to_onnx", [*flags.split(), "--precision", precision])


def compare_forms(subject: Any, row: dict[str, Any]) -> None:
    """Deploy against training form."""
    from export import parity
    from export.answers import DEPLOY_FORM, TRAINING_FORM

    answers = subject.reference.outputs
    row["fusion"] = parity.difference(answers[DEPLOY_FORM], answers[TRAINING_FORM]).relative


def to_bytes(name: str, source: Any, subject: Any, precision: str, batch: int) -> bytes:
    """The file; for counting only, any weights will do: the graph does not depend on their values."""
    from export import graph

    deploy, variables = (subject.deploy, subject.variables) if subject else any_weights(name)
    return graph.to_onnx_bytes(request(name, precision, batch), source, deploy, variables, source.image_size)


def any_weights(name: str) -> tuple[Any, Any]:
    import jax
    import numpy as np

    import hvjax
    from hvjax.structure import sample_size

    model = hvjax.create_model(name, deploy=True)
    images = jax.ShapeDtypeStruct((1, *sample_size(model), model.config.in_channels), np.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    rng = np.random.default_rng(0)
    return model, jax.tree.map(lambda s: rng.standard_normal(s.shape, np.float32), shapes)


def gate(subject: Any, model: bytes) -> float:
    """The file in ONNX Runtime against JAX."""
    import numpy as np

    from export import parity
    from export.answers import DEPLOY_FORM
    from export.runtimes import Built
    from export.runtimes.onnxruntime import OnnxRuntime

    session = OnnxRuntime().open(Built("onnxruntime", model, None, 0.0))
    found = session.run(np.ascontiguousarray(subject.inputs[:PARITY_BATCH]))[subject.output]
    session.close()
    return parity.difference(found, subject.reference.outputs[DEPLOY_FORM][:PARITY_BATCH]).relative


def batch_key(batch: int) -> str:
    return f"batch_{batch}"


def missing_parity(row: dict[str, Any]) -> bool:
    return "fusion" not in row or any(row.get(p, {}).get("parity") is None for p in PRECISIONS)


def complete(row: dict[str, Any]) -> bool:
    counts = [row.get(p, {}).get(batch_key(b), {}) for p in PRECISIONS for b in BATCHES]
    return not missing_parity(row) and all("kernels" in found for found in counts)


def without_errors(row: dict[str, Any]) -> dict[str, Any]:
    """What of a row is worth keeping."""
    kept = {k: v for k, v in row.items() if k in ("model", "image_size", "fusion")}
    for precision in PRECISIONS:
        found = row.get(precision, {})
        kept[precision] = {k: v for k, v in found.items() if k == "parity" or "kernels" in v}
    return kept


def measure_all(names: list[str], again: bool, counts_again: bool) -> None:
    """One process a model: neither JAX nor a builder gives its memory back."""
    from hvjax.registry import MODELS

    file = RESULTS / "models.jsonl"
    for name in names or list(MODELS):
        rows = read("models.jsonl")
        row = rows.get(name, {})
        if complete(row) and not again and not counts_again:
            continue
        known = {} if again else without_errors(row)
        if counts_again:
            for precision in PRECISIONS:
                known[precision] = {k: v for k, v in known[precision].items() if k == "parity"}
        start = time.perf_counter()
        command = [sys.executable, __file__, "--one", name, "--known", json.dumps(known)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=LONGEST, cwd=ROOT
            )
            line = done.stdout.splitlines()[-1] if done.returncode == 0 else ""
            said = done.stderr.strip().splitlines() or ["no output"]
            message = next((text for text in reversed(said) if "Error:" in text), said[-1])
        except subprocess.TimeoutExpired:
            line, message = "", f"took more than {LONGEST} s"
        rows = read("models.jsonl")
        rows[name] = json.loads(line) if line else {**known, "model": name, "error": message}
        print(f"{name}: {time.perf_counter() - start:.0f} s {rows[name].get('error', '')}", flush=True)
        file.write_text("".join(json.dumps(rows[n]) + "\n" for n in MODELS if n in rows))


def read(name: str) -> dict[str, dict]:
    file = RESULTS / name
    if not file.is_file():
        return {}
    if file.suffix == ".jsonl":
        return {row["model"]: row for row in map(json.loads, file.read_text().splitlines())}
    return {row["model"]: row for row in json.loads(file.read_text())["rows"]}


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


def table() -> str:
    """The page."""
    return "\n".join([HEADER, *parities(), *economy(1), *economy(8), *failures()]) + "\n"


HEADER = """# Every model, measured

<!-- written by tests/benchmarks/model_table.py: do not edit by hand -->
"""


def parities() -> list[str]:
    """Every form of a model against the others."""
    from hvjax import info
    from hvjax.registry import MODELS

    rows, parity = read("models.jsonl"), read("parity.json")
    lines = [
        "## Equal to the reference, in every form\n",
        "The largest difference of the logits as a share of the largest logit: against timm with all weights "
        "random (`make parity`); of the deploy form against the training form; of the ONNX file in ONNX "
        "Runtime against JAX in float32, for the float32 and the float16 file. (On a CPU ONNX Runtime "
        "computes a float16 file in float32, so that column shows the rounding of the weights only; the gate "
        "of an export rounds activations, too.) A dash: no twin in timm, or not measured.\n",
        "| model | parameters train / deploy | timm | deploy form | ONNX fp32 | ONNX fp16 |",
        "|---|---|---|---|---|---|",
    ]
    for name in MODELS:
        counts, row = info.facts(name), rows.get(name, {})
        cells = [
            link(name),
            f"{counts['params']:,} / {counts['params_deploy']:,}",
            share(parity.get(name, {}).get("relative_error")),
            share(row.get("fusion")),
            *(share(row.get(precision, {}).get("parity")) for precision in PRECISIONS),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def economy(batch: int) -> list[str]:
    """What the files and their engines cost at one batch."""
    from hvjax.registry import MODELS

    rows, twins = read("models.jsonl"), read_twins()
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


def read_twins() -> dict[tuple[str, int], dict]:
    file = RESULTS / "torch_twins.jsonl"
    lines = file.read_text().splitlines() if file.is_file() else []
    return {(row["model"], row["batch"]): row for row in map(json.loads, lines)}


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


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--one", metavar="NAME", help="print the row of one model")
    parser.add_argument("--known", metavar="JSON", default="{}", help="with --one: what need not be measured")
    parser.add_argument("--again", action="store_true", help="measure models again that have a line")
    parser.add_argument("--counts-again", action="store_true", help="count nodes and kernels again, no more")
    parser.add_argument("--write-only", action="store_true", help="measure nothing, write the page")
    parser.add_argument("names", nargs="*", help="all by default")
    arguments = parser.parse_args(argv)
    if arguments.one:
        print(json.dumps(measure(arguments.one, json.loads(arguments.known))))
        return 0
    if not arguments.write_only:
        measure_all(arguments.names, arguments.again, arguments.counts_again)
    (RESULTS / "models.md").write_text(table())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
