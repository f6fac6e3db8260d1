"""Measure every model's export and write docs/results/models.md: `model_table.py [--again] [NAME ...]`.

Per model, with random weights and real images: deploy against training form, the ONNX file (float32 and
float16) against JAX, its nodes and Transposes, the kernels of its TensorRT for RTX engine, built with no GPU
for a batch of 1 and of 8. One line of JSON per model goes to docs/results/models.jsonl; what is there already
is not measured again. model_page.py puts them on the page with what other measurements found.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import model_page
import ratio_picture
from results import BATCHES, PRECISIONS, RESULTS, ROOT, batch_key, read

PARITY_BATCH = 8
KEPT = ("model", "image_size", "fusion", "export_seconds")  # what a row has of no one precision
LONGEST = 1800  # seconds that one model may take


def measure(name: str, known: dict[str, Any]) -> dict[str, Any]:
    """Row of one model; what `known` has already is kept."""
    import count_kernels

    from export import command
    from export.load import load_source

    source = load_source(name)
    row: dict[str, Any] = {**known, "model": name, "image_size": list(source.image_size)}
    if "export_seconds" not in row:
        row["export_seconds"] = export_seconds(name, source)
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


def request(name: str, precision: str, batch: int, images: int = PARITY_BATCH) -> Any:
    from export.flags import parse

    flags = f"--ckpt {name} --random-weights --via stablehlo --batch {batch} --gate-images {images}"
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


def export_seconds(name: str, source: Any) -> float:
    """Of the float32 file at batch PARITY_BATCH; what is imported only once is imported before."""
    import export.bridge  # noqa: F401
    from export import graph

    deploy, variables = any_weights(name)
    asked = request(name, "fp32", PARITY_BATCH)
    start = time.perf_counter()
    graph.to_onnx_bytes(asked, source, deploy, variables, source.image_size)
    return time.perf_counter() - start


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


def missing_parity(row: dict[str, Any]) -> bool:
    return "fusion" not in row or any(row.get(p, {}).get("parity") is None for p in PRECISIONS)


def complete(row: dict[str, Any]) -> bool:
    counts = [row.get(p, {}).get(batch_key(b), {}) for p in PRECISIONS for b in BATCHES]
    measured = "export_seconds" in row and not missing_parity(row)
    return measured and all("kernels" in found for found in counts)


def without_errors(row: dict[str, Any]) -> dict[str, Any]:
    """What of a row is worth keeping."""
    kept = {k: v for k, v in row.items() if k in KEPT}
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
    (RESULTS / "models.md").write_text(model_page.text())
    ratio_picture.write()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
