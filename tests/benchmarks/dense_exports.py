"""Export backbones, segmenters and detectors at the sizes of the papers: `dense_exports.py [NAME ...]`.

Each with random weights, by the command that users have: gate of the ONNX file against JAX, engine of
TensorRT for RTX, built with no GPU, and the latency of the file on this CPU. Segmenters and backbones take
512x512 in batches of 2, detectors 800x1344 (the canvas of 800x1333), one at a time. One line of JSON each
goes to docs/results/dense_exports.jsonl, what is there already is not measured again;
docs/results/dense_exports.md is written from them; with `--precision fp16` they are dense_exports_fp16.jsonl
and .md. On a GPU, `--runtime tensorrt --out DIR` times engines (`gpu_lab.py` does).
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "results"
PRECISIONS = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
BACKBONES = ("next_vit_s", "fastvit_sa12", "swin_t", "resnet50")
#: Head -> (size, batch); "" is the backbone alone.
HEADS = {
    "": ("512x512", 2),
    "semantic_fpn": ("512x512", 2),
    "upernet": ("512x512", 2),
    "mask_rcnn": ("800x1344", 1),
}
NAMES = [f"{backbone}+{head}" if head else backbone for head in HEADS for backbone in BACKBONES]
HALF = (
    "*In float32*: operations that a search left there, since the error *before* was over the limit (empty: "
    "the row is older than this column); random weights round worse than trained ones. Of detectors with "
    "such weights only the steps to the detections are compared, of their engines nothing; the error is that "
    "of the worst step.\n"
)
LONGEST = 1800  # seconds that one export may take


def measure(name: str, size: str | None, runtime: str, precision: str) -> dict[str, Any]:
    """Row of one export; `size` instead of the head's own, `runtime` builds the engine."""
    own, batch = HEADS[name.partition("+")[2]]
    command = [
        sys.executable,
        "-m",
        "export.to_trt",
        "--ckpt",
        name,
        "--random-weights",
        "--via",
        "stablehlo",
    ]
    command += ["--runtime", runtime, "--image-size", size or own, "--batch", str(batch)]
    command += ["--precision", precision, "--gate-images", "2"]
    command += [*(["--backbone"] if "+" not in name else [])]
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(
                [*command, "--out", f"{folder}/out"],
                capture_output=True,
                text=True,
                check=False,
                timeout=LONGEST,
                cwd=ROOT,
            )
        except subprocess.TimeoutExpired:
            return {"error": f"took more than {LONGEST} s"}
        found = next(Path(folder, "out").rglob("report.json"), None)
        if found is None:
            return {"error": (done.stderr.strip().splitlines() or ["no output"])[-1]}
        return _row(json.loads(found.read_text()))


def _row(report: Any) -> dict[str, Any]:
    lines = [line for line in report["gate"]["comparisons"] if line["candidate"].startswith("model.onnx")]
    worst: dict[str, float] = {}
    for line in lines:
        error = math.inf if line["relative"] is None else line["relative"]  # None: not a number
        worst[line["output"]] = max(worst.get(line["output"], 0.0), error)
    engine, latency = report["engine"], report["latency"]
    precision = report.get("precision") or {}  # of half precision
    return {
        "image_size": report["model"]["image_size"],
        "batch": report["model"]["batch"]["typical"],
        "accepted": report["accepted"],
        "reasons": report["reasons"],
        "errors": worst,
        "error_before": precision.get("error_before"),
        "operations": precision.get("nodes"),
        "kept_float32": sum(island["nodes"] for island in precision.get("islands", ())),
        "nodes": report["graph"]["nodes"],
        "transposes": report["graph"]["transposes"],
        "parameters": report["graph"]["parameters"],
        "kernels": engine.get("kernels"),
        "moves": engine.get("data_movements"),
        "engine_bytes": engine.get("bytes"),
        "build_seconds": engine.get("build_seconds"),
        "latency_ms": latency[-1]["median_ms"] if latency else None,
        "timed": latency[-1]["where"] if latency else None,
    }


def measure_all(options: argparse.Namespace) -> bool:
    """Measure, and write down what has the papers' size; returns whether every export was accepted."""
    fine = True
    for name in options.names or NAMES:
        if read(options).get(name, {}).get("accepted") and not options.again and options.size is None:
            continue
        start = time.perf_counter()
        row = {"model": name, **measure(name, options.size, options.runtime, options.precision)}
        on_cpu = "CPU" in (row.get("timed") or "")
        if options.busy or (on_cpu and options.precision != "fp32"):  # CPUs compute halves in float32
            row["latency_ms"] = row["timed"] = None
        if options.size is None:
            rows = {**read(options), name: row}
            text = "".join(json.dumps(rows[n]) + "\n" for n in NAMES if n in rows)
            kept(options, "jsonl").write_text(text)
        said = row.get("error") or ("accepted" if row["accepted"] else f"REJECTED: {row['reasons'][:1]}")
        print(f"{name}: {time.perf_counter() - start:.0f} s, {said}", flush=True)
        fine = fine and bool(row.get("accepted"))
    return fine


def kept(options: argparse.Namespace, kind: str) -> Path:
    """The rows ("jsonl") or the page ("md") of a precision."""
    suffix = "" if options.precision == "fp32" else f"_{options.precision}"
    return options.out / f"dense_exports{suffix}.{kind}"


def read(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    path = kept(options, "jsonl")
    lines = path.read_text().splitlines() if path.is_file() else []
    return {row["model"]: row for row in map(json.loads, lines)}


def page(options: argparse.Namespace) -> str:
    """dense_exports.md, of the rows in `options.out`."""
    found = read(options).values()
    rows = [row for row in found if "error" not in row]
    half = options.precision != "fp32"
    timed = ", ".join(sorted({row["timed"] for row in rows if row.get("timed")})) or "nothing yet"
    lines = [
        "# Exports of backbones, segmenters and detectors\n",
        "<!-- written by tests/benchmarks/dense_exports.py: do not edit by hand -->\n",
        f"With random weights, {PRECISIONS[options.precision]}. *Error*: the largest difference of ONNX "
        "Runtime from JAX, as a share of the largest value, of the worst output; *lost*: detections of "
        "either side that the other has not. *Kernels*: what the engine is of, in brackets those that only "
        "move data; without a GPU it is "
        f"built by TensorRT for RTX and not run. *Latency*: median, timed on {timed}; empty where that was "
        "busy, or computes in float32 instead. A name without a head is the backbone alone, with its four "
        "stages as outputs; detectors end in suppression and masks.\n",
        *([HALF] if half else []),
        f"| model | size, batch | gate | error | {'before | in float32 | ' * half}lost | nodes | Transposes "
        "| kernels | engine | build | latency |",
        "|---" * (13 if half else 11) + "|",
    ]
    for row in rows:
        height, width = row["image_size"]
        errors = {name: value for name, value in row["errors"].items() if name != "labels"}
        lost = f"{100 * row['errors']['labels']:.1f} %" if "labels" in row["errors"] and not half else ""
        before, kept_there = "", ""
        if row.get("operations"):
            before = "not finite" if row["error_before"] is None else f"{row['error_before']:.1e}"
            kept_there = f"{row['kept_float32']} of {row['operations']}"
        built = row["kernels"] is not None
        lines.append(
            f"| {row['model']} | {height}x{width}, {row['batch']} | "
            f"{'passed' if row['accepted'] else 'FAILED'} | {max(errors.values()):.1e} | "
            + (f"{before} | {kept_there} | " if half else "")
            + f"{lost} | "
            + f"{row['nodes']} | {row['transposes']} | {row['kernels']} ({row['moves']}) | "
            + (f"{row['engine_bytes'] / 1e6:.0f} MB | {row['build_seconds']:.0f} s | " if built else "| | ")
            + (f"{row['latency_ms']:.0f} ms |" if row["latency_ms"] else "|")
        )
    failed = [f"- {row['model']}: {row['error']}" for row in found if "error" in row]
    return "\n".join([*lines, *(["\n## What failed\n", *failed] if failed else [])]) + "\n"


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line; ends the program where it has a mistake."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", metavar="SIZE", help="another size, for a quick look: nothing is kept")
    parser.add_argument("--again", action="store_true", help="measure what has a line already")
    parser.add_argument("--busy", action="store_true", help="others compute here too: write down no latency")
    parser.add_argument("--write-only", action="store_true", help="measure nothing, write the page")
    parser.add_argument("--runtime", choices=("tensorrt_rtx", "tensorrt"), default="tensorrt_rtx")
    parser.add_argument("--precision", choices=tuple(PRECISIONS), default="fp32")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of rows and page")
    parser.add_argument("names", nargs="*", metavar="NAME", help="all by default")
    options = parser.parse_args(argv)
    for name in options.names:
        if name not in NAMES:
            parser.error(f"{name}: expected some of {', '.join(NAMES)}")
    return options


def main(argv: list[str]) -> int:
    options = parse(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    fine = options.write_only or measure_all(options)
    if options.size is None:
        kept(options, "md").write_text(page(options))
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
