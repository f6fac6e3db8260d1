"""What float16 costs in every model's file, all roundings counted: `half_error.py [NAME ...]`.

With random weights and real images, as an export does it (export/precision): the float16 file is run as a
float32 copy that rounds every tensor as the file does, and compared with the float32 file (which is within
2e-6 of JAX: model_table.py). Where that is beyond the limit or overflows, the modules that must stay float32
are searched, as `--precision fp16` searches them. One line of JSON per model goes to
docs/results/half_error.jsonl; what is there is not measured again. Small models come first.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from model_table import PARITY_BATCH, RESULTS, ROOT, read, request

OUT = RESULTS / "half_error.jsonl"
IMAGES = 2
LONGEST = 3600  # seconds that one model may take
#: Each model is run a few times only: half the time goes without the compiler's dearer steps.
QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"


def measure(name: str) -> dict[str, Any]:
    """Row of one model."""
    import onnx

    import hvjax
    from export import gate_images, graph, parity
    from export.load import load_source
    from export.precision.emulate import emulated
    from export.precision.ranges import magnitudes, overflows
    from export.random_weights import random_variables
    from export.runtimes.onnxruntime import OnnxSession

    start = time.perf_counter()
    source = load_source(name)
    asked = request(name, "fp16", IMAGES)
    channels = source.model.config.in_channels
    images = gate_images.photographs(source.image_size, channels, PARITY_BATCH)
    pixels = images.normalised(source.mean, source.std)
    variables = random_variables(source.model, pixels, asked.seed)
    deploy, fused = hvjax.reparameterize(source.model, variables)
    inputs = pixels[:IMAGES].transpose(0, 3, 1, 2).copy()

    def convert(precision: str) -> bytes:
        wanted = dataclasses.replace(asked, precision=precision)
        return graph.to_onnx_bytes(wanted, source, deploy, fused, source.image_size)

    typed, exact = onnx.load_model_from_string(convert("fp16")), convert("fp32")
    found, wanted = (
        next(iter(OnnxSession(file).run(inputs).values()))
        for file in (emulated(typed).SerializeToString(), exact)
    )
    largest = magnitudes(typed, {}, inputs, IMAGES)
    over = overflows(typed, {}, largest)
    limit = parity.onnx_limit("fp16", trained=False)
    error = parity.difference(found, wanted).relative
    row = {
        "model": name,
        "images": IMAGES,
        "limit": limit,
        "error": error,
        "largest": max(largest.values()),
        "largest_tensor": max(largest, key=lambda tensor: largest[tensor]),
        "overflows": len(over),
        "islands": [],
    }
    if error > limit or over:
        row |= search(asked, source, convert)
    return {**row, "seconds": round(time.perf_counter() - start, 1)}


def search(asked: Any, source: Any, convert: Any) -> dict[str, Any]:
    """What must stay float32 for the file to be within its limit."""
    from export import command
    from export.precision.settle import Task, initializers, settle

    subject = command.prepare(asked, source, source.image_size)
    task = Task(
        precision="fp16",
        trained=False,
        batch=asked.batch,
        images=subject.inputs,
        reference=subject.reference,
        output=subject.output,
    )
    settled = settle(
        convert("fp16"),
        task,
        keep=(),
        may_search=True,
        float32_weights=lambda: initializers(convert("fp32")),
    )
    found = settled.precision
    assert found is not None, "a float16 file has a precision to report"
    return {
        "error_after": found.error_after,
        "passed": settled.gate.passed,
        "half_nodes": found.nodes,
        "islands": [{"module": i.module, "why": i.why, "nodes": i.nodes} for i in found.islands],
        "runs": found.runs,
    }


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--one", metavar="NAME", help="print the row of one model")
    parser.add_argument("--again", action="store_true", help="measure models again that have a line")
    parser.add_argument("names", nargs="*", help="all by default")
    arguments = parser.parse_args(argv)
    if arguments.one:
        print(json.dumps(measure(arguments.one)))
        return 0
    from hvjax import info
    from hvjax.registry import MODELS

    failed = 0
    for name in sorted(arguments.names or MODELS, key=lambda name: info.facts(name)["macs"]):
        if name in read(OUT.name) and not arguments.again:
            continue
        start = time.perf_counter()
        command = [sys.executable, __file__, "--one", name]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=LONGEST,
            cwd=ROOT,
            env={**os.environ, "XLA_FLAGS": QUICK},
        )
        if done.returncode:
            failed += 1
            print(f"{name}: {(done.stderr.strip().splitlines() or ['no output'])[-1]}", flush=True)
            continue
        rows = read(OUT.name)
        row = rows[name] = json.loads(done.stdout.splitlines()[-1])
        OUT.write_text("".join(json.dumps(rows[n]) + "\n" for n in MODELS if n in rows))
        islands = ", ".join(island["module"] for island in row["islands"]) or "none"
        taken = time.perf_counter() - start
        print(f"{name}: {row['error']:.1e}, islands: {islands}, {taken:.0f} s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
