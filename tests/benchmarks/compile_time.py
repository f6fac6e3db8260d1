"""Seconds from the first call of a training step to its first result: hvjax beside torch.compile.

    python tests/benchmarks/compile_time.py [--torch-python PATH] [--model next_vit_s ...] [--rounds 3]

The step is that of train_step.py: forward, backward, AdamW, float32. Every start is a process of its own
with an empty cache, one after the other in turn; for torch.compile too, whose cache is pointed to an empty
folder. Of hvjax the parts are told apart: tracing and lowering (Python), XLA's compilation, the step itself;
and what was compiled is counted: operations before and instructions after optimisation. The processor time
is given beside the clock: it hardly moves when the machine is busy with something else.

Printed at the end: next_vit_l over next_vit_s, and hvjax over torch.compile for each model. With --out the
rows are written as JSON. `--cache` starts hvjax a second time with JAX's persistent compilation cache, which
is what a resumed run finds.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from train_step import machine

HERE = Path(__file__).resolve().parent
MODELS = ("next_vit_s", "next_vit_l")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--torch-python", help="interpreter with torch and timm; without it hvjax runs alone")
    parser.add_argument("--model", action="append", help=f"repeatable; default {', '.join(MODELS)}")
    parser.add_argument("--size", type=int, default=224, help="pixels, height and width (224)")
    parser.add_argument("--batch", type=int, default=8, help="images (8)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--cache", action="store_true", help="also with a filled compilation cache")
    parser.add_argument("--out", type=Path, help="write the rows to this JSON file")
    parser.add_argument("--worker", metavar="MODEL", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        print(json.dumps(first_step(args.worker, args.size, args.batch, args.threads)))
        return
    models = args.model or list(MODELS)
    rows: dict[str, dict[str, list[dict[str, Any]]]] = {model: {} for model in models}
    for _ in range(args.rounds):
        for model in models:
            for name, row in measure(model, args).items():
                rows[model].setdefault(name, []).append(row)
    summary = summarise(rows)
    show(rows, summary)
    if args.out:
        result = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": {**machine(args.threads), "load_average": [round(v, 1) for v in os.getloadavg()]},
            "setting": {"size": args.size, "batch": args.batch, "rounds": args.rounds},
            "rows": rows,
            "summary": summary,
        }
        args.out.write_text(json.dumps(result, indent=1) + "\n")


def measure(model: str, args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """One start of each contender."""
    shape = ["--size", str(args.size), "--batch", str(args.batch), "--threads", str(args.threads)]
    ours = [sys.executable, str(HERE / "compile_time.py"), "--worker", model, *shape]
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        cache = {"JAX_COMPILATION_CACHE_DIR": folder} if args.cache else {}
        found["hvjax"] = start(ours, args.threads, **cache)
        if args.cache:
            found["hvjax, cached"] = start(ours, args.threads, **cache)
    if args.torch_python:
        with tempfile.TemporaryDirectory() as folder:
            worker = HERE / "train_step_torch.py"
            theirs = [args.torch_python, str(worker), "--model", model, *shape, "--variant", "compile"]
            found["torch.compile"] = start(theirs, args.threads, TORCHINDUCTOR_CACHE_DIR=folder)
    return found


def start(command: list[str], threads: int, **variables: str) -> dict[str, Any]:
    """Run a worker; its first line, and the processor time of it and of its children."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "JAX_PLATFORMS": "cpu", **variables}
    before = os.times()
    # the worker of train_step.py ends when it reads 0
    done = subprocess.run(
        command, env=environment, input="0\n", stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with status {done.returncode}")
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return {**json.loads(done.stdout.splitlines()[0]), "process_cpu_seconds": round(used, 2)}


def first_step(model: str, size: int, batch: int, threads: int) -> dict[str, Any]:
    """In a process of its own: the parts of a first step."""
    if hasattr(os, "sched_setaffinity"):  # before JAX starts its threads
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    import jax
    from train_step_jax import build

    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    step, state = build(model, size, batch)
    clock = [(time.perf_counter(), time.process_time())]

    def note() -> None:
        clock.append((time.perf_counter(), time.process_time()))

    lowered = jax.jit(step, donate_argnums=0).lower(state)
    note()
    compiled = lowered.compile()
    note()
    jax.block_until_ready(compiled(state))
    note()
    names = ("lowering", "compilation", "step")
    wall = [b[0] - a[0] for a, b in itertools.pairwise(clock)]
    cpu = [b[1] - a[1] for a, b in itertools.pairwise(clock)]
    return {
        "first_step_seconds": round(sum(wall), 2),
        "seconds": dict(zip(names, (round(v, 2) for v in wall), strict=True)),
        "cpu_seconds": dict(zip(names, (round(v, 2) for v in cpu), strict=True)),
        "operations": lowered.as_text().count("stablehlo."),
        "instructions": (compiled.as_text() or "").count(" = "),
    }


def summarise(rows: dict[str, dict[str, list[dict[str, Any]]]]) -> dict[str, float]:
    """Ratios of medians."""

    def median(model: str, name: str, value: Any) -> float:
        return statistics.median(value(row) for row in rows[model][name])

    def total(row: dict[str, Any]) -> float:
        return row["first_step_seconds"]

    found = {}
    if set(MODELS) <= set(rows):
        small, large = MODELS
        for what, value in {
            "first step": total,
            "compilation": lambda row: row["seconds"]["compilation"],
            "compilation, processor time": lambda row: row["cpu_seconds"]["compilation"],
        }.items():
            ratio = median(large, "hvjax", value) / median(small, "hvjax", value)
            found[f"{large} over {small}, {what}"] = round(ratio, 3)
    for model, contenders in rows.items():
        if "torch.compile" in contenders:
            ratio = median(model, "hvjax", total) / median(model, "torch.compile", total)
            found[f"{model}, hvjax over torch.compile, first step"] = round(ratio, 3)
    return found


def show(rows: dict[str, dict[str, list[dict[str, Any]]]], summary: dict[str, float]) -> None:
    for model, contenders in rows.items():
        for name, starts in contenders.items():
            seconds = " ".join(f"{row['first_step_seconds']:7.1f}" for row in starts)
            parts = ""
            if "seconds" in starts[0]:
                medians = {
                    part: statistics.median(row["seconds"][part] for row in starts)
                    for part in starts[0]["seconds"]
                }
                parts = "  " + ", ".join(f"{part} {value:.1f} s" for part, value in medians.items())
                parts += (
                    f"; {starts[0]['operations']:,} operations, {starts[0]['instructions']:,} instructions"
                )
            print(f"{model:12} {name:14} first step{seconds} s{parts}")
    for name, value in summary.items():
        print(f"{name}: {value:.2f}x")


if __name__ == "__main__":
    main()
