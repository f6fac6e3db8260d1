"""Measure every model's export and write docs/results/models.md: `model_table.py [--again] [NAME ...]`.

Per model, with random weights and real images: deploy against training form, the ONNX file (float32 and
float16) against JAX, its nodes and Transposes, the kernels of its TensorRT for RTX engine, built for a batch
of 8 with no GPU. One line of JSON per model goes to docs/results/models.jsonl; models that have one without
an error are skipped. The table adds parity from docs/results/parity.json (`make parity`) and the twins'
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
BATCH = 8
PRECISIONS = ("fp32", "fp16")
LONGEST = 1800  # seconds that one model may take

# Measured on the reference code (torch 2.13, timm 1.0.31; the official code of UniFormer and PyramidTNT),
# each fused by its own method where it has one: nodes, kernels and those that only move data in float32,
# kernels in float16. The better of these and of torch_twins.jsonl is what a model is compared with.
REFERENCE = {
    "resnet50": (122, 58, 2, 58),
    "next_vit_s": (293, 161, 24, 137),
    "next_vit_b": (433, 237, 36, 201),
    "next_vit_l": (573, 313, 48, 265),
    "fastvit_t8": (154, 57, 1, 61),
    "fastvit_s12": (174, 65, 1, 69),
    "fastvit_sa12": (145, 80, 3, 86),
    "fastvit_ma36": (547, 222, 25, 214),
    "swin_t": (529, 189, 61, 155),
    "uniformer_s": (481, 254, 24, 233),
    "pyramid_tnt_s": (780, 324, 23, 360),
}


def measure(name: str) -> dict[str, Any]:
    """Row of one model."""
    import count_kernels
    import numpy as np

    from export import command, graph, parity
    from export.flags import parse
    from export.load import load_source
    from export.reference import DEPLOY_FORM, TRAINING_FORM
    from export.runtimes import Built
    from export.runtimes.onnxruntime import OnnxRuntime

    def request(precision: str) -> Any:
        flags = f"--ckpt {name} --random-weights --via stablehlo --batch {BATCH} --gate-images {BATCH}"
        return parse("to_onnx", [*flags.split(), "--precision", precision])

    source = load_source(name)
    size = source.image_size
    subject = command.prepare(request("fp32"), source, size)
    answers = subject.reference.outputs
    row: dict[str, Any] = {
        "model": name,
        "image_size": list(size),
        "batch": BATCH,
        "fusion": parity.difference(answers[DEPLOY_FORM], answers[TRAINING_FORM]).relative,
    }
    for precision in PRECISIONS:
        try:
            model = graph.to_onnx_bytes(request(precision), source, subject.deploy, subject.variables, size)
            session = OnnxRuntime().open(Built("onnxruntime", model, None, 0.0))
            found = session.run(np.ascontiguousarray(subject.inputs[:BATCH]))[subject.output]
            session.close()
            difference = parity.difference(found, answers[DEPLOY_FORM][:BATCH]).relative
            row[precision] = {"parity": difference, **count_kernels.count(model, BATCH)}
        except Exception as error:  # what fails is a result
            row[precision] = {"error": f"{type(error).__name__}: {str(error).splitlines()[0]}"}
    return row


def measure_all(names: list[str], again: bool) -> None:
    """One process a model: neither JAX nor a builder gives its memory back."""
    from hvjax.registry import MODELS

    file = RESULTS / "models.jsonl"
    rows = read("models.jsonl")
    for name in names or list(MODELS):
        if name in rows and '"error"' not in json.dumps(rows[name]) and not again:
            continue
        start = time.perf_counter()
        command = [sys.executable, __file__, "--one", name]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=LONGEST, cwd=ROOT
            )
            line = done.stdout.splitlines()[-1] if done.returncode == 0 else ""
            said = done.stderr.strip().splitlines() or ["no output"]
            message = next((text for text in reversed(said) if "Error:" in text), said[-1])
        except subprocess.TimeoutExpired:
            line, message = "", f"took more than {LONGEST} s"
        rows[name] = json.loads(line) if line else {"model": name, "error": message}
        print(f"{name}: {time.perf_counter() - start:.0f} s {rows[name].get('error', '')}", flush=True)
        file.write_text("".join(json.dumps(rows[n]) + "\n" for n in MODELS if n in rows))


def read(name: str) -> dict[str, dict]:
    file = RESULTS / name
    if not file.is_file():
        return {}
    if file.suffix == ".jsonl":
        return {row["model"]: row for row in map(json.loads, file.read_text().splitlines())}
    return {row["model"]: row for row in json.loads(file.read_text())["rows"]}


def twin_of(name: str, twins: dict[str, dict]) -> tuple[Any, Any, Any, Any]:
    """Nodes, kernels and moves in float32, kernels in float16: the smallest known; None if nothing is."""
    found = []
    if name in twins:
        fp32, fp16 = twins[name]["fp32"], twins[name]["fp16"]
        found.append((fp32["nodes"], fp32["kernels"], fp32["fewest_moves"], fp16["kernels"]))
    if name in REFERENCE:
        found.append(REFERENCE[name])
    columns = [[row[i] for row in found if row[i] is not None] for i in range(4)]
    return tuple(min(column) if column else None for column in columns)  # pyright: ignore[reportReturnType]


def table() -> str:
    """The page."""
    from hvjax import info
    from hvjax.registry import MODELS

    rows, parity, twins = read("models.jsonl"), read("parity.json"), read("torch_twins.jsonl")
    lines = [
        "# Every model, measured\n",
        "<!-- written by tests/benchmarks/model_table.py: do not edit by hand -->\n",
        "Parity is the largest difference of the logits as a share of the largest logit: against timm with "
        "all weights random (`make parity`); of the deploy form against the training form; of the ONNX file "
        f"in ONNX Runtime against JAX in float32. Kernels are those of the TensorRT for RTX engine of batch "
        f"{BATCH}, in brackets those that only move data. The torch twin is the timm model, reparameterised "
        "and exported both ways that torch knows, each figure the smallest of the files; or, where that is "
        "smaller, what was measured on the reference code (torch 2.13, timm 1.0.31, batch 1). A dash: no "
        "twin in timm, or not measured.\n",
        "| model | parameters train / deploy | parity timm | deploy form | ONNX fp32 | ONNX fp16 "
        "| nodes ours / torch | Transposes | kernels fp32 ours / torch | kernels fp16 ours / torch "
        "| engine fp32 / fp16 |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in MODELS:
        counts, row = info.facts(name), rows.get(name, {})
        fp32, fp16 = row.get("fp32", {}), row.get("fp16", {})
        nodes, kernels, moves, half = twin_of(name, twins)
        cells = [
            f"[{name}](../models/{name}.md)",
            f"{counts['params']:,} / {counts['params_deploy']:,}",
            share(parity.get(name, {}).get("relative_error")),
            share(row.get("fusion")),
            share(fp32.get("parity")),
            share(fp16.get("parity")),
            f"{show(fp32.get('nodes'))} / {show(nodes)}",
            show(fp32.get("transposes")),
            f"{with_moves(fp32.get('kernels'), fp32.get('moves'))} / {with_moves(kernels, moves)}",
            f"{with_moves(fp16.get('kernels'), fp16.get('moves'))} / {show(half)}",
            f"{builds(fp32)} / {builds(fp16)}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    errors = [
        (n, p, rows[n].get(p, {}).get("error") or rows[n].get("error")) for n in rows for p in PRECISIONS
    ]
    failed = [f"- {name}, {precision}: {error}" for name, precision, error in errors if error]
    if failed:
        lines += ["\n## What failed\n", *dict.fromkeys(failed)]
    return "\n".join(lines) + "\n"


def share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1e}"


def show(value: Any) -> str:
    return "-" if value is None else str(value)


def with_moves(kernels: int | None, moves: int | None) -> str:
    return "-" if kernels is None else f"{kernels} ({show(moves)})"


def builds(found: dict) -> str:
    return "-" if not found else "yes" if found.get("kernels") else "no"


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--one", metavar="NAME", help="print the row of one model")
    parser.add_argument("--again", action="store_true", help="measure models again that have a line")
    parser.add_argument("--write-only", action="store_true", help="measure nothing, write the page")
    parser.add_argument("names", nargs="*", help="all by default")
    arguments = parser.parse_args(argv)
    if arguments.one:
        print(json.dumps(measure(arguments.one)))
        return 0
    if not arguments.write_only:
        measure_all(arguments.names, arguments.again)
    (RESULTS / "models.md").write_text(table())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
