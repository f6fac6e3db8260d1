"""Export every full-size model at an image size that is not square: `nonsquare.py [--size HxW] [NAME ...]`.

Per model, with random weights and real images: the file of a fixed batch and the one of a dynamic batch
(1:4:8), each against JAX in ONNX Runtime (the dynamic one at its smallest, typical and largest batch), and
what TensorRT for RTX leaves of them, built with no GPU; the dynamic one with the optimisation profile
1:4:8. One line of JSON per model goes to docs/results/nonsquare.jsonl, what is there already is not measured
again; docs/results/nonsquare.md is written from them.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "results"
FILE = RESULTS / "nonsquare.jsonl"
#: Height and width: multiples of 32, which every model with tables of positions takes.
SIZE = "192x256"
BATCH = "1:4:8"
#: Largest difference that the project allows a float32 file, of the largest logit.
LIMIT = 2e-6
LONGEST = 1200  # seconds that one model may take


def measure(name: str, size_text: str) -> dict[str, Any]:
    """Row of one model."""
    import hvjax
    from export import graph, reference
    from export.at_size import at_size
    from export.flags import parse
    from export.gate_images import photographs
    from export.kind import kind_of
    from export.load import load_source
    from export.random_weights import random_variables

    flags = f"--ckpt {name} --random-weights --via stablehlo --image-size {size_text} --batch".split()
    dynamic = parse("to_onnx", [*flags, BATCH])
    static = parse("to_onnx", [*flags, str(dynamic.batch.typical)])
    assert dynamic.image_size is not None
    size = dynamic.image_size
    source = at_size(load_source(name), size)
    pixels = photographs(size, source.model.config.in_channels, dynamic.batch.maximum)
    images = pixels.normalised(source.mean, source.std)[: dynamic.batch.maximum]
    with reference.on_cpu():
        variables = random_variables(source.model, images)
        deploy, fused = hvjax.reparameterize(source.model, variables)
        expected = reference.compiled_features(deploy, plain=True)(fused, images)[kind_of(deploy).output]
    row: dict[str, Any] = {"model": name, "image_size": list(size), "batch": BATCH}
    for kind, request in (("static", static), ("dynamic", dynamic)):
        start = time.perf_counter()
        model = graph.to_onnx_bytes(request, source, deploy, fused, size)
        found = {"seconds": round(time.perf_counter() - start, 2)}
        row[kind] = {
            **found,
            "error": errors(model, images, expected, request.batch),
            **count(model, request),
        }
    return row


def errors(model: bytes, images: Any, expected: Any, batches: Any) -> dict[str, float]:
    """Batch -> largest difference of ONNX Runtime from JAX, of the largest logit."""
    import numpy as np

    from export import parity
    from export.runtimes import Built
    from export.runtimes.onnxruntime import OnnxRuntime

    session = OnnxRuntime().open(Built("onnxruntime", model, None, 0.0))
    found = {}
    for n in batches.gate_sizes:
        (answer,) = session.run(np.ascontiguousarray(images[:n].transpose(0, 3, 1, 2))).values()
        found[str(n)] = parity.difference(answer, np.asarray(expected[:n])).relative
    session.close()
    return found


def count(model: bytes, request: Any) -> dict[str, Any]:
    """Nodes of the file, kernels of its engine."""
    from export import economy, runtimes
    from export.runtimes import BuildOptions
    from export.runtimes.kernels import summary

    nodes = economy.count(model)
    built = runtimes.make("tensorrt_rtx").build(model, BuildOptions(request.batch))
    kernels = summary(built.kernels or ())
    return {
        "nodes": nodes.nodes,
        "transposes": nodes.transposes,
        "kernels": kernels["kernels"],
        "moves": kernels["data_movements"],
        "engine_bytes": len(built.engine or b""),
        "build_seconds": round(built.seconds, 2),
    }


def measure_all(names: list[str], size: str, again: bool) -> None:
    """One process a model: neither JAX nor a builder gives its memory back."""
    from hvjax.registry import MODELS

    for name in names or list(MODELS):
        if "error" not in read().get(name, {"error": ""}) and not again:
            continue
        start = time.perf_counter()
        command = [sys.executable, __file__, "--one", name, "--size", size]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=LONGEST, cwd=ROOT
            )
            said = done.stderr.strip().splitlines() or ["no output"]
            message = next((text for text in reversed(said) if "Error:" in text), said[-1])
            row = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {"error": message}
        except subprocess.TimeoutExpired:
            row = {"error": f"took more than {LONGEST} s"}
        rows = {**read(), name: {"model": name, **row}}
        FILE.write_text("".join(json.dumps(rows[n]) + "\n" for n in MODELS if n in rows))
        print(f"{name}: {time.perf_counter() - start:.0f} s {row.get('error', '')}", flush=True)


def read() -> dict[str, dict[str, Any]]:
    lines = FILE.read_text().splitlines() if FILE.is_file() else []
    return {row["model"]: row for row in map(json.loads, lines)}


def page() -> str:
    """docs/results/nonsquare.md."""
    rows = [row for row in read().values() if "error" not in row]
    worst = [max(*row["static"]["error"].values(), *row["dynamic"]["error"].values()) for row in rows]
    more = [row["dynamic"]["kernels"] / row["static"]["kernels"] for row in rows]
    lines = [
        "# Models at an image size that is not square\n",
        "<!-- written by tests/benchmarks/nonsquare.py: do not edit by hand -->\n",
        f"{len(rows)} models with random weights on real images, {SIZE} pixels (height x width). *Error*: "
        "the largest difference of the logits in ONNX Runtime from JAX, as a share of the largest logit; of "
        f"the dynamic file the worst of the batches {BATCH}. *Kernels*: what TensorRT for RTX leaves, in "
        "brackets those that only move data; the dynamic file is built with the profile "
        f"{BATCH} (smallest, typical and largest batch), the static one for the typical batch.\n",
        f"Largest error {max(worst, default=0):.1e}; {sum(w <= LIMIT for w in worst)} of {len(rows)} within "
        f"{LIMIT:.0e}. A dynamic batch costs {100 * (median(more or [1]) - 1):+.0f} % kernels in the median, "
        f"from {100 * (min(more, default=1) - 1):+.0f} % to {100 * (max(more, default=1) - 1):+.0f} %.\n",
        "| model | error static | error dynamic | nodes static / dynamic | Transposes | kernels static "
        "| kernels dynamic |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        one, many = row["static"], row["dynamic"]
        lines.append(
            f"| [{row['model']}](../models/{row['model']}.md) | {max(one['error'].values()):.1e} | "
            f"{max(many['error'].values()):.1e} | {one['nodes']} / {many['nodes']} | {many['transposes']} | "
            f"{one['kernels']} ({one['moves']}) | {many['kernels']} ({many['moves']}) |"
        )
    failed = [f"- {row['model']}: {row['error']}" for row in read().values() if "error" in row]
    return "\n".join([*lines, *(["\n## What failed\n", *failed] if failed else [])]) + "\n"


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--one", metavar="NAME", help="print the row of one model")
    parser.add_argument("--size", default=SIZE, help=f"HEIGHTxWIDTH ({SIZE})")
    parser.add_argument("--again", action="store_true", help="measure models again that have a line")
    parser.add_argument("--write-only", action="store_true", help="measure nothing, write the page")
    parser.add_argument("names", nargs="*", help="all by default")
    arguments = parser.parse_args(argv)
    if arguments.one:
        print(json.dumps(measure(arguments.one, arguments.size)))
        return 0
    if not arguments.write_only:
        measure_all(arguments.names, arguments.size, arguments.again)
    (RESULTS / "nonsquare.md").write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
