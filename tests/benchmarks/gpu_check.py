"""Everything that needs a GPU, in one run: engines of TensorRT for RTX, and training speed against timm.

    python tests/benchmarks/gpu_check.py [--torch-python PATH] [--out DIR] [--only engines|training]

Engines: next_vit_s and resnet50, float32 and float16, are exported with random weights by the same command
a user types, with --require-engine-run: built, run, gated against JAX on real images, and timed by CUDA
events with and without a CUDA graph. So is resnet50 with each rare option of the builder and with TF32, by
TensorRT too where it is installed, and with ONNX Runtime's providers where onnxruntime-gpu is.

Training: bfloat16 images/s of hvjax (jit) against timm (torch.compile, channels_last, autocast), by
gpu_train.py, whose arguments it takes. --torch-python names an interpreter with torch and timm (default: this
one).

Written to --out: gpu.json with the exact command, GPU, driver, clocks before and after each part, versions,
date and all numbers, and the report of each export. Without an NVIDIA GPU it says so and ends with status 0.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))

import gpu_train  # noqa: E402

from export import provenance  # noqa: E402  (works from a clone that is not installed, too)
from export._optional import available  # noqa: E402
from export.runtimes import MODULE_OF, make  # noqa: E402
from export.runtimes.cuda import why_no_gpu  # noqa: E402

MODELS = ("next_vit_s", "resnet50")
PRECISIONS = ("fp32", "fp16")
#: What is tried with one model: name -> runtime, flags. `OUT` is the folder of the results.
RARE = {
    "rtx-tf32": ("tensorrt_rtx", ["--tf32"]),
    "rtx-refit": ("tensorrt_rtx", ["--refit"]),
    "rtx-strip-weights": ("tensorrt_rtx", ["--strip-weights"]),
    "trt": ("tensorrt", []),
    "trt-tf32": ("tensorrt", ["--tf32"]),
    "trt-refit": ("tensorrt", ["--refit"]),
    "trt-strip-weights": ("tensorrt", ["--strip-weights"]),
    "trt-version-compatible": ("tensorrt", ["--version-compatible"]),
    "trt-hardware-compatible": ("tensorrt", ["--hardware-compatible"]),
    "trt-timing-cache": ("tensorrt", ["--timing-cache", "OUT/times.bin"]),
    "trt-timing-cache-again": ("tensorrt", ["--timing-cache", "OUT/times.bin"]),
    "trt-optimization-level": ("tensorrt", ["--optimization-level", "1"]),
    "ort-cuda": ("onnxruntime", ["--provider", "cuda"]),
    "ort-cuda-tf32": ("onnxruntime", ["--provider", "cuda", "--tf32"]),
    "ort-tensorrt": ("onnxruntime", ["--provider", "tensorrt"]),
}
EXPORT_SECONDS = 900
SUMMARY = "gpu.json"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("docs/results/gpu"))
    parser.add_argument("--only", choices=("engines", "training"))
    gpu_train.add_arguments(parser)
    args = parser.parse_args()
    reason = why_no_gpu()
    if reason is not None:
        print(f"nothing to check: {reason}")
        return 0
    args.out.mkdir(parents=True, exist_ok=True)
    data: dict[str, Any] = {
        "command": shlex.join([Path(sys.executable).name, *sys.argv]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "gpu": provenance.gpu(),
        "machine": provenance.machine(),
        "versions": provenance.versions(),
        "engines": {},
        "training": {},
    }
    try:
        if args.only != "training":
            check_engines(args.out, data)
        if args.only != "engines":
            args.torch_python = args.torch_python or sys.executable
            for model in args.model or gpu_train.MODELS:
                data["training"][model] = gpu_train.measure(model, args)
                data["training"][model]["gpu_after"] = provenance.gpu()
                save(args.out, data)
    finally:
        save(args.out, data)
    bad = [name for name, entry in data["engines"].items() if entry["status"] != 0]
    print(f"\nwrote {args.out / SUMMARY}" + (f"; FAILED: {', '.join(bad)}" if bad else ""))
    return 1 if bad else 0


# --- engines ------------------------------------------------------------------------------------------


def check_engines(out: Path, data: dict[str, Any]) -> None:
    for model in MODELS:
        for precision in PRECISIONS:
            for graph in (False, True):
                name = f"{model}-{precision}" + ("-graph" if graph else "")
                flags = ["--cuda-graph"] if graph else []
                data["engines"][name] = engine(model, precision, "tensorrt_rtx", flags, out / name)
                show_engine(name, data["engines"][name])
                save(out, data)
    for name, (runtime, flags) in RARE.items():
        if not possible(runtime, flags):
            print(f"{name}: not installed")
            continue
        flags = [flag.replace("OUT", str(out.resolve())) for flag in flags]
        data["engines"][name] = engine("resnet50", "fp32", runtime, flags, out / name)
        show_engine(name, data["engines"][name])
        save(out, data)


def possible(runtime: str, flags: list[str]) -> bool:
    """Whether the packages are here; what they can do is what is to be found out."""
    if runtime != "onnxruntime":
        return available(MODULE_OF[runtime])
    return make(runtime, flags[flags.index("--provider") + 1]).why_not_build() is None


def engine(model: str, precision: str, runtime: str, flags: list[str], out: Path) -> dict[str, Any]:
    """One export by the user's command; the engine itself is not kept."""
    command = [sys.executable, "-m", "export.to_trt", "--ckpt", model, "--random-weights"]
    command += ["--precision", precision, "--batch", "8", "--runtime", runtime, "--overwrite"]
    command += ["--require-engine-run", "--via", "stablehlo", "--out", str(out.resolve()), *flags]
    before = provenance.gpu()
    done = subprocess.run(
        command, cwd=HERE.parent.parent, capture_output=True, text=True, timeout=EXPORT_SECONDS, check=False
    )
    entry = {
        "command": shlex.join(["python", *command[1:]]),
        "status": done.returncode,
        "said": (done.stdout + done.stderr).strip().splitlines()[-20:],
        "gpu_before": before,
        "gpu_after": provenance.gpu(),
    }
    report = next((p for p in (out / "report.json", out / "rejected" / "report.json") if p.is_file()), None)
    if report is not None:
        found = json.loads(report.read_text())
        entry |= {key: found[key] for key in ("accepted", "reasons", "engine", "latency", "seconds")}
        entry["comparisons"] = found["gate"]["comparisons"]
    for large in (*out.rglob("model.engine"), *out.rglob("model.onnx")):
        large.unlink()
    return entry


def show_engine(name: str, entry: dict[str, Any]) -> None:
    print(f"{name}: exit status {entry['status']}")
    for line in entry.get("comparisons", []):
        if line["candidate"] == "model.engine" or line["candidate"].startswith("model.onnx on "):
            print(f"  against {line['reference']}: {line['relative']}, passed {line['passed']}")
    for found in entry.get("latency", []):
        print(f"  {found['where']}, batch {found['batch']}: median {found['median_ms']:.3f} ms")
    if entry["status"] != 0:
        print("  " + "\n  ".join(entry["said"][-5:]))


def save(out: Path, data: dict[str, Any]) -> None:
    (out / SUMMARY).write_text(json.dumps(data, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
