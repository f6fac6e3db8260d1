"""Train a segmenter and a detector on drawn scenes, export both, and score the files: `dense_learning.py`.

By the commands that users have, each with the small network of the recipe's fallback, which is made for ten
minutes on two CPU cores. One line of JSON a task goes to docs/results/dense_learning.jsonl, from which
docs/results/dense_learning.md is written: scores of the run, of the exported file, and their difference.
`--share 0.1` trains for a tenth of the steps and keeps nothing in docs/results; `--rows FILE` has its lines.
Ends with 1 where a goal is missed by a whole run, or the file's scores are not those of the run.
"""

import argparse
import json
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "results"
FILE, PAGE = RESULTS / "dense_learning.jsonl", RESULTS / "dense_learning.md"
CONFIGS = {
    "segmentation": "configs/ade20k_semfpn_next_vit_s.py",
    "detection": "configs/coco_maskrcnn_next_vit_s.py",
}
SHOWN = {
    "segmentation": ("miou", "macc", "aacc"),
    "detection": (
        *("box_ap", "box_ap50", "box_ap75", "box_ap_small", "box_ap_medium", "box_ap_large"),
        *("mask_ap", "mask_ap50", "mask_ap75", "mask_ap_small", "mask_ap_medium", "mask_ap_large"),
    ),
}
# What the project set out to reach on this data, and how near the exported file has to be.
GOALS = {"miou": 0.90, "box_ap": 0.60, "mask_ap": 0.55}
SAME = 0.005


def call(*command: str) -> str:
    """Run a command of ours, its output shown as it comes; returns it.

    Raises:
      SystemExit: it failed.
    """
    print("$ python -m", *command, flush=True)
    lines = []
    whole = [sys.executable, "-m", *command]
    with subprocess.Popen(
        whole, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    if process.returncode:
        sys.exit(f"exit status {process.returncode}")
    return "".join(lines)


def steps_of(config: str) -> int:
    """Steps of the whole run on drawn scenes."""
    from train_tpu.assembly import assemble
    from train_tpu.config import resolve
    from train_tpu.flags import load_recipe

    return assemble(resolve(load_recipe(ROOT / config))).length.total


def measure(task: str, share: float, folder: Path) -> dict[str, Any]:
    """Row of one task, trained in `folder`."""
    config, workdir, out = CONFIGS[task], folder / task, folder / f"{task}_engine"
    steps = round(share * steps_of(config))
    began, before = time.perf_counter(), _processor_seconds()
    call("train_tpu.main", "--config", config, "--workdir", str(workdir), f"--config.schedule.steps={steps}")
    seconds, worked = time.perf_counter() - began, _processor_seconds() - before
    call("train_tpu.evaluate", "--ckpt", str(workdir))
    evaluation = next((workdir / "evaluation").glob("step_*/results.json"))
    found = json.loads(evaluation.read_text())
    call("export.to_trt", "--ckpt", str(workdir), "--batch", "8", "--out", str(out))
    call("export.score", "--onnx", str(out), "--out", str(folder / f"{task}.json"))
    scored = json.loads((folder / f"{task}.json").read_text())
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    goodput = json.loads((workdir / "goodput.json").read_text())
    return {
        "task": task,
        "config": config,
        "steps": steps,
        "images": steps * json.loads((workdir / "config.json").read_text())["data.batch_size"],
        "minutes": round(seconds / 60, 2),
        "processor_minutes": round(worked / 60, 2),
        "goodput": goodput.get("goodput"),
        "loss": next(row["loss"] for row in reversed(rows) if row["split"] == "train"),
        "jax": {name: found["scores"]["train"].get(name) for name in SHOWN[task]},
        "deploy": {name: found["scores"]["deploy"].get(name) for name in SHOWN[task]},
        "onnx": {name: scored.get(name) for name in SHOWN[task]},
        "machine": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            **{name: version(name) for name in ("jax", "flax", "onnxruntime", "pycocotools")},
        },
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def _processor_seconds() -> float:
    """Time that all cores together spent on commands so far, which others on the machine change little."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def processor() -> str:
    """Name of the processor."""
    try:
        found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor()


def page(rows: list[dict[str, Any]]) -> str:
    """docs/results/dense_learning.md, of the last row of each task."""
    last = {row["task"]: row for row in rows}
    lines = [
        "# Segmentation and detection on drawn scenes",
        "",
        "Written by `tests/benchmarks/dense_learning.py` (`make bench`) from dense_learning.jsonl.",
        "",
    ]
    for task, row in last.items():
        machine = row["machine"]
        lines += [
            f"**{task}**, `{row['config']}` without data: {row['steps']:,} steps, {row['images']:,} images, "
            f"{row['minutes']:.1f} minutes on {machine['cores']} cores of {machine['processor']} "
            f"({row['processor_minutes']:.1f} minutes of processor time, compilation and evaluations too), "
            f"{row['date']} (jax {machine['jax']}, onnxruntime {machine['onnxruntime']}).",
            "",
            "| score, % | goal | training form | deploy form | exported file | file - run |",
            "|---|---|---|---|---|---|",
        ]
        for name in SHOWN[task]:
            goal = f"{100 * GOALS[name]:.0f}" if name in GOALS else ""
            cells = [_percent(row[part].get(name)) for part in ("jax", "deploy", "onnx")]
            run, file = row["jax"].get(name), row["onnx"].get(name)
            apart = "-" if run is None or file is None else f"{100 * (file - run):+.2f}"
            lines.append(f"| {name} | {goal} | {' | '.join(cells)} | {apart} |")
        lines.append("")
    return "\n".join(lines)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f}"


def missed(row: dict[str, Any], whole: bool) -> list[str]:
    """What `row` falls short of, a line each; goals count for whole runs only."""
    run, file = row["jax"], row["onnx"]
    lines = [
        f"{name}: {run[name]:.4f} of the run, {file[name]:.4f} of its file, limit {SAME} apart"
        for name in SHOWN[row["task"]]
        if run[name] is not None and file[name] is not None and not abs(run[name] - file[name]) <= SAME
    ]
    if whole:
        goals = {name: goal for name, goal in GOALS.items() if name in file}
        lines += [f"{n}: {file[n]:.4f}, goal {goal}" for n, goal in goals.items() if not file[n] >= goal]
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=f"{' or '.join(CONFIGS)}; both by default")
    parser.add_argument("--share", type=float, default=1.0, help="of the steps; below 1 nothing is kept")
    parser.add_argument("--keep", metavar="DIR", help="folder of the runs; a temporary one by default")
    parser.add_argument("--rows", metavar="FILE", type=Path, help="where to append the lines to as well")
    options = parser.parse_args()
    tasks = options.tasks or list(CONFIGS)
    for task in tasks:
        if task not in CONFIGS:
            parser.error(f"{task}: expected some of {', '.join(CONFIGS)}")
    if not 0 < options.share <= 1:
        parser.error(f"--share {options.share}: expected a number above 0, 1 at most")
    if options.keep and (there := [task for task in tasks if Path(options.keep, task).exists()]):
        parser.error(f"--keep {options.keep}: holds an earlier run of {there[0]}; name another folder")
    short = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.keep or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for task in tasks:
            row = measure(task, options.share, folder)
            for file in ([FILE] if options.share == 1 else []) + ([options.rows] if options.rows else []):
                with file.open("a") as lines:
                    lines.write(json.dumps(row) + "\n")
            short += [f"{task}, {line}" for line in missed(row, options.share == 1)]
    if options.share == 1:
        PAGE.write_text(page([json.loads(line) for line in FILE.read_text().splitlines()]))
    print("\n".join(short) or "every goal is reached, files score as their runs")
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
