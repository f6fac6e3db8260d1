"""Training speed on this CPU: hvjax against timm, one step at a time in turn.

    python tests/benchmarks/train_step.py --torch-python PATH [--setting next_vit_s:64:32 ...] [--rounds 9]

Each contender (hvjax under jit; timm eager, eager channels_last, torch.compile) is a process of its own, on
the same processor cores. They compile first; then, round by round, each runs its steps while the others
sleep. A step is forward, backward and AdamW of the same loss on the same shapes, float32. Results go to
--out as JSON. The figure to read is the ratio within a round; run it on an idle machine all the same: the
threads of torch wait for each other in busy loops, so a neighbour slows torch far more than it slows XLA.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
TORCH_VARIANTS = ("eager", "channels_last", "compile")
# model:image size:batch
MODELS = ("next_vit_s", "fastvit_sa12", "resnet50")
SETTINGS = tuple(f"{model}:{shape}" for shape in ("64:32", "224:8") for model in MODELS)


class EndedEarly(Exception):
    """A contender's process died: it is left out of the setting, and the table says so."""


class Contender:
    """A worker process that runs training steps when asked; its protocol is one JSON object a line."""

    def __init__(self, name: str, command: list[str], threads: int):
        self.name, self.seconds, self.cpu_seconds = name, [], []
        # Both libraries size their thread pools by these, and by the cores that the worker may use.
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "JAX_PLATFORMS": "cpu"}
        # torch.compile keeps what it compiled, and its first step would only look it up
        self._cache = tempfile.TemporaryDirectory(prefix="inductor-")
        environment["TORCHINDUCTOR_CACHE_DIR"] = self._cache.name
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.facts = self._answer()

    def _answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            raise EndedEarly(f"{self.name} ended early with status {self.process.wait()}")
        return json.loads(line)

    def turn(self, steps: int, record: bool = True) -> None:
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        answer = self._answer()
        if record:
            self.seconds.append(answer["seconds"] / steps)
            self.cpu_seconds.append(answer["cpu_seconds"] / steps)

    def stop(self) -> dict:
        self.process.stdin.write("0\n")
        self.process.stdin.flush()
        last = self._answer()
        self.process.wait()
        self._cache.cleanup()
        return last


def contenders(setting: str, torch_python: str | None, threads: int) -> list[Contender]:
    model, size, batch = setting.split(":")
    shape = ["--model", model, "--size", size, "--batch", batch, "--threads", str(threads)]
    started = [Contender("hvjax", [sys.executable, str(HERE / "train_step_jax.py"), *shape], threads)]
    for variant in TORCH_VARIANTS if torch_python else ():
        command = [torch_python, str(HERE / "train_step_torch.py"), *shape, "--variant", variant]
        started.append(Contender(f"timm {variant}", command, threads))
    return started


def measure(setting: str, torch_python: str | None, threads: int, rounds: int, steps: int) -> dict:
    """Run one setting and return its table."""
    batch = int(setting.split(":")[2])
    runners = contenders(setting, torch_python, threads)
    failed: dict[str, str] = {}

    def take_turns(order: list[Contender], count: int, record: bool) -> None:
        for runner in order:
            try:
                runner.turn(count, record)
            except (EndedEarly, BrokenPipeError) as error:
                failed[runner.name] = str(error)
                print(error, flush=True)
                runners.remove(runner)

    take_turns(list(runners), 1, record=False)
    for number in range(rounds):
        # The order turns, so that nobody always runs after the same neighbour.
        start = number % len(runners)
        take_turns(runners[start:] + runners[:start], steps, record=True)
    if "hvjax" in failed:
        raise EndedEarly(failed["hvjax"])
    rows = {}
    for runner in runners:
        median = statistics.median(runner.seconds)
        rows[runner.name] = {
            "images_per_second": round(batch / median, 2),
            "seconds_per_step": round(median, 4),
            "fastest_step": round(min(runner.seconds), 4),
            "cpu_seconds_per_step": round(statistics.median(runner.cpu_seconds), 4),
            **runner.facts,
            **runner.stop(),
        }
    table = {"setting": setting, "rounds": rounds, "steps_a_turn": steps, "contenders": rows}
    if failed:
        table["failed"] = failed
    ours, others = runners[0], runners[1:]
    if others:
        best = min(others, key=lambda runner: statistics.median(runner.seconds))
        ratios = [other / own for own, other in zip(ours.seconds, best.seconds, strict=True)]
        table["best_torch"] = best.name
        table["speed_of_hvjax_over_best_torch"] = round(statistics.median(ratios), 3)
        table["ratio_per_round"] = [round(ratio, 3) for ratio in ratios]
        cpu = [other / own for own, other in zip(ours.cpu_seconds, best.cpu_seconds, strict=True)]
        compiled = next((row for name, row in rows.items() if name.endswith("compile")), None)
        if compiled:
            first = rows[ours.name]["first_step_seconds"] / compiled["first_step_seconds"]
            table["first_step_of_hvjax_over_torch_compile"] = round(first, 3)
        table["cpu_time_of_best_torch_over_hvjax"] = round(statistics.median(cpu), 3)
    return table


def show(table: dict) -> None:
    print(f"\n{table['setting']} (model:size:batch), median of {table['rounds']} interleaved rounds")
    print(f"  {'':22}{'images/s':>10}{'s/step':>9}{'cpu s/step':>12}{'first step':>11}{'peak MB':>9}")
    for name, row in table["contenders"].items():
        print(
            f"  {name:22}{row['images_per_second']:10.1f}{row['seconds_per_step']:9.3f}"
            f"{row['cpu_seconds_per_step']:12.3f}{row['first_step_seconds']:11.1f}{row['peak_rss_mb']:9.0f}"
        )
    if "best_torch" in table:
        print(f"  hvjax / {table['best_torch']}: {table['speed_of_hvjax_over_best_torch']:.2f}x")
    if "first_step_of_hvjax_over_torch_compile" in table:
        print(f"  first step, hvjax / torch.compile: {table['first_step_of_hvjax_over_torch_compile']:.2f}")


def machine(threads: int) -> dict:
    names = [line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")]
    return {"cpu": names[0] if names else platform.processor(), "cores": os.cpu_count(), "threads": threads}


def _command(args: argparse.Namespace) -> str:
    """How to repeat this run; the place of the other interpreter is the reader's own."""
    settings = "".join(f" --setting {setting}" for setting in args.setting or SETTINGS)
    other = " --torch-python PATH" * bool(args.torch_python) + " --passive" * args.passive
    numbers = f" --rounds {args.rounds} --steps {args.steps} --threads {args.threads}"
    return f"python tests/benchmarks/train_step.py{settings}{other}{numbers}"


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--torch-python", help="interpreter with torch and timm; without it hvjax runs alone")
    parser.add_argument(
        "--setting", action="append", help=f"model:size:batch, repeatable; default {SETTINGS}"
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=2, help="steps of one turn")
    parser.add_argument(
        "--passive",
        action="store_true",
        help="set OMP_WAIT_POLICY=PASSIVE: for a busy machine, where waiting in loops slows torch",
    )
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--out", type=Path, help="write the tables to this JSON file")
    args = parser.parse_args()
    if args.passive:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    tables = []
    for setting in args.setting or SETTINGS:
        try:
            tables.append(measure(setting, args.torch_python, args.threads, args.rounds, args.steps))
        except EndedEarly as error:
            sys.exit(str(error))
        show(tables[-1])
        if args.out:
            result = {
                "command": _command(args),
                "date": datetime.now(UTC).isoformat(timespec="seconds"),
                "machine": {**machine(args.threads), "load_average": [round(v, 1) for v in os.getloadavg()]},
                "tables": tables,
            }
            args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
