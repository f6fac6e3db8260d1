"""Training speed on one GPU: hvjax against timm with torch.compile, channels_last and autocast to bfloat16.

    python tests/benchmarks/gpu_train.py --torch-python PATH [--model next_vit_s ...] [--out FILE]

For each model both sides first look for the batch at which they are fastest (`--batch`, repeatable; one that
does not fit into the memory is passed over). Then one worker of each, at its own best batch, takes turns on
the GPU: rounds of steps, the order alternating. Reported are images/s, their ratio round by round, MFU (the
model's operations over the GPU's peak in bfloat16), the seconds of the first step with compilation, and a
breakdown of hvjax's step by kinds of kernels, from a trace. --torch-python names an interpreter with torch
and timm; without it hvjax runs alone. On a machine without a GPU it runs too, with small `--size`, `--batch`
and `--eager`, to see that it works: those figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
MODELS = ("next_vit_s", "fastvit_sa12", "fastvit_ma36", "resnet50", "swin_t")
BATCHES = (128, 256, 512)
OURS, THEIRS = "hvjax jit bfloat16", "timm torch.compile channels_last bfloat16"


class Contender:
    """A worker that runs training steps when asked: a number a line in, a JSON object a line out."""

    def __init__(self, name: str, batch: int, command: list[str]) -> None:
        # JAX would take most of the GPU's memory for itself, and there are two of us.
        environment = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
        environment["PYTHONPATH"] = str(HERE.parent.parent)
        self.name, self.batch, self.rates = name, batch, []
        self.process = subprocess.Popen(
            [*command, "--batch", str(batch)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        try:
            self.facts = self._ask("")
        except RuntimeError:
            self.process.wait()
            raise

    def turn(self, steps: int) -> float:
        """Images per second."""
        return steps * self.batch / self._ask(f"{steps}\n")["seconds"]

    def breakdown(self) -> dict[str, float]:
        return self._ask("trace\n")["milliseconds_per_step"]

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def _ask(self, line: str) -> dict[str, Any]:
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(line)
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended: said below
        answer = self.process.stdout.readline()
        if not answer:
            status = self.process.wait()
            raise RuntimeError(f"{self.name}, batch {self.batch}: ended with status {status}")
        return json.loads(answer)


def measure(model: str, args: argparse.Namespace) -> dict[str, Any]:
    """One model: the best batch of each, then turns. An "error" in the result names what did not work."""
    with tempfile.TemporaryDirectory() as folder:
        shape = ["--model", model, "--size", str(args.size)]
        commands = {OURS: [sys.executable, str(HERE / "gpu_train_jax.py"), *shape, "--trace", folder]}
        if args.torch_python:
            eager = ["--eager"] if args.eager else []
            commands[THEIRS] = [args.torch_python, str(HERE / "gpu_train_torch.py"), *shape, *eager]
        entry: dict[str, Any] = {"image_size": args.size, "steps": args.steps, "contenders": {}}
        running: list[Contender] = []
        try:
            best = {name: best_batch(name, command, args, entry) for name, command in commands.items()}
            for name, command in commands.items():
                running.append(Contender(name, best[name], command))
                running[-1].turn(args.steps)
            for number in range(args.rounds):
                for worker in running[:: 1 if number % 2 else -1]:
                    worker.rates.append(worker.turn(args.steps))
            entry["milliseconds_per_step"] = running[0].breakdown()
        except RuntimeError as error:  # the other models are worth having all the same
            entry["error"] = str(error)
        finally:
            for worker in running:
                worker.stop()
    for worker in running:
        if worker.rates:
            entry["contenders"][worker.name] = described(worker)
    if all(worker.rates for worker in running) and len(running) == 2:
        ratios = [ours / theirs for ours, theirs in zip(running[0].rates, running[1].rates, strict=True)]
        entry["ratio"] = {"rounds": ratios, "median": statistics.median(ratios)}
    show(model, entry)
    return entry


def best_batch(name: str, command: list[str], args: argparse.Namespace, entry: dict[str, Any]) -> int:
    """The batch with the most images per second; what was tried is noted in the entry."""
    rates: dict[int, float] = {}
    for batch in args.batch or BATCHES:
        worker = None
        try:
            worker = Contender(name, batch, command)
            worker.turn(args.steps)
            rates[batch] = worker.turn(args.steps)
        except RuntimeError as error:
            print(f"  {error}", file=sys.stderr)
        finally:
            if worker is not None:
                worker.stop()
    entry.setdefault("batches", {})[name] = rates
    if not rates:
        raise RuntimeError(f"{name}: no batch worked")
    return max(rates, key=rates.__getitem__)


def described(worker: Contender) -> dict[str, Any]:
    median = statistics.median(worker.rates)
    row = {"batch": worker.batch, **worker.facts, "images_per_second": worker.rates, "median": median}
    if row.get("peak_flops"):
        row["mfu"] = median * row["flops_per_image"] / row["peak_flops"]
    return row


def show(model: str, entry: dict[str, Any]) -> None:
    for name, row in entry["contenders"].items():
        mfu = f", MFU {row['mfu']:.1%}" if "mfu" in row else ""
        print(
            f"{model}, {name}: {row['median']:,.1f} images/s at batch {row['batch']}{mfu}, "
            f"first step {row['first_step_seconds']:.1f} s"
        )
    if "ratio" in entry:
        print(f"{model}: hvjax / timm {entry['ratio']['median']:.2f}x")
    total = sum(entry.get("milliseconds_per_step", {}).values())
    for kind, ms in entry.get("milliseconds_per_step", {}).items():
        print(f"  {kind:16}{ms:9.2f} ms {ms / total:6.1%}")
    if "error" in entry:
        print(f"{model}: {entry['error']}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of the measurement, for gpu_check.py too."""
    parser.add_argument("--torch-python", help="interpreter with torch and timm")
    parser.add_argument("--model", action="append", help=f"repeatable; default {', '.join(MODELS)}")
    parser.add_argument("--batch", type=int, action="append", help=f"to be tried; default {BATCHES}")
    parser.add_argument("--size", type=int, default=224, help="pixels, height and width (224)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=10, help="of one turn (10)")
    parser.add_argument("--eager", action="store_true", help="timm without torch.compile: a quick check")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser)
    parser.add_argument("--out", type=Path, help="write everything to this JSON file")
    args = parser.parse_args()
    data: dict[str, Any] = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "models": {}}
    for model in args.model or MODELS:
        data["models"][model] = measure(model, args)
        if args.out:  # after each: a lent GPU may go any time
            args.out.write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main()
