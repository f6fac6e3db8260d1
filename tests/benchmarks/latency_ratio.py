"""Latency of our ONNX files against those of their timm twins: `latency_ratio.py [NAME ...]`.

ONNX Runtime on the CPU, float32, one thread at batch 1 and two at batch 8. Both sides are the same network
with the same weights and the same images, in the fused form: the twin's weights are loaded into our deploy
form, and the logits of both files must agree before anything is timed. The twin is the fastest of its four
files (two exporters, each with and without onnxslim), found in a short round at that batch. Then both are
timed in turns in one process until the interval of the ratio is tight (interleaved.py).

One line of JSON per model and batch goes to docs/results/latency_ratio.jsonl; what is there and tight is not
measured again; of two measurements the tighter stays. The twin's files are written in another environment
(twin_files.py), which has torch and timm. On a machine in use, `--realtime` (as root) gives the timed
process the processors when it wants them.
"""

import argparse
import datetime
import gc
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import interleaved

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "docs" / "results" / "latency_ratio.jsonl"
THREADS = {1: 1, 8: 2}  # batch -> threads of ONNX Runtime
#: Files that differ by more of the largest logit than this are not the same network (each side is within
#: 2e-6 of float64).
SAME = 1e-5
#: Wider intervals (half their width, as a share of the ratio) are measured again by a further run.
WIDE = 0.02
SECONDS = 20.0  # for the pairs of one model and batch
LONGEST = 1200  # seconds for writing the files of a twin


def write_ours(name: str, batch: int, folder: Path) -> dict:
    """`ours.onnx` with the twin's weights in our deploy form."""
    import jax
    import jax.numpy as jnp

    import export
    import hvjax

    model = hvjax.create_model(name, deploy=True)
    variables = hvjax.load_torch(folder / "weights.safetensors", model)
    size = hvjax.registry.MODELS[name].image_size
    images = jax.ShapeDtypeStruct((batch, size, size, 3), jnp.float32)
    start = time.perf_counter()
    file = export.convert(model.apply, images, weights=variables, input_layout="nchw")
    seconds = time.perf_counter() - start
    (folder / "ours.onnx").write_bytes(file.SerializeToString())
    return {"export_seconds": seconds, "versions": {"jax": jax.__version__, "hvjax": hvjax.__version__}}


def time_files(batch: int, folder: Path, variants: list[str], seconds: float) -> dict:
    """Our file against the fastest of the twin's."""
    import numpy as np
    import onnxruntime

    images, expected = np.load(folder / "images.npy"), np.load(folder / "expected.npy")
    sessions = {name: interleaved.session(folder / f"{name}.onnx", THREADS[batch]) for name in variants}
    calls = {name: interleaved.caller(opened, images) for name, opened in sessions.items()}
    medians = interleaved.fastest(calls)
    best = next(iter(medians))
    theirs = calls[best]
    sessions = {best: sessions[best]}
    del calls
    gc.collect()
    ours = interleaved.caller(interleaved.session(folder / "ours.onnx", THREADS[batch]), images)
    apart = max(float(np.abs(call() - expected).max() / np.abs(expected).max()) for call in (ours, theirs))
    if apart > SAME:
        raise ValueError(f"the files differ from the twin by {apart:.1e} of the largest logit")
    found = interleaved.compare(ours, theirs, seconds)
    return {
        "threads": THREADS[batch],
        "ours_ms": found.ours,
        "theirs_ms": found.theirs,
        "ratio": found.ratio,
        "low": found.low,
        "high": found.high,
        "calls": list(found.calls),
        "clean": found.clean,
        "best": best,
        "variants_ms": medians,
        "difference": apart,
        "load": os.getloadavg()[0],
        "versions": {"onnxruntime": onnxruntime.__version__},
    }


def measure(
    name: str, batch: int, folder: Path, torch_python: str, seconds: float, prefix: Sequence[str] = ()
) -> dict:
    """Row of one model at one batch; a process for each step, as none gives its memory back."""
    here = Path(__file__)
    arguments = [name, str(batch), str(folder)]
    twin = _json([torch_python, str(here.with_name("twin_files.py")), *arguments])
    ours = _json([sys.executable, str(here), "--write-ours", *arguments])
    variants = ",".join(twin["variants"])
    timed = _json([*prefix, sys.executable, str(here), "--time", *arguments, variants, str(seconds)])
    versions = {**ours.pop("versions"), **twin.pop("versions"), **timed.pop("versions")}
    del twin["variants"]
    twin["twin_export_seconds"] = twin.pop("export_seconds")
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    made = {"versions": versions, "cpu": platform.machine(), "date": date}
    return {"model": name, "batch": batch, **twin, **ours, **timed, **made}


def _json(command: list[str]) -> dict[str, Any]:
    """The last line that a command prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=LONGEST, cwd=ROOT, env=environment
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["no output"]
        raise RuntimeError(next((line for line in reversed(said) if "Error:" in line), said[-1]))
    return json.loads(done.stdout.splitlines()[-1])


def read() -> dict[tuple[str, int], dict]:
    lines = OUT.read_text().splitlines() if OUT.is_file() else []
    return {(row["model"], row["batch"]): row for row in map(json.loads, lines)}


def is_tight(row: dict) -> bool:
    return spread(row) <= WIDE


def spread(row: dict) -> float:
    return (row["high"] - row["low"]) / 2 / row["ratio"]


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--torch-python", default=str(ROOT / ".venv-torch" / "bin" / "python"))
    parser.add_argument("--again", action="store_true", help="measure models again that have a line")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for the pairs of a model and batch")
    parser.add_argument("--realtime", action="store_true", help="time with real-time priority (as root)")
    parser.add_argument("names", nargs="*", help="all with a twin by default")
    arguments = parser.parse_args(argv)
    prefix = ("chrt", "--rr", "1") if arguments.realtime else ()
    from hvjax import info
    from hvjax.registry import MODELS

    names = arguments.names or [name for name, spec in MODELS.items() if spec.timm]
    work = {(n, b): info.facts(n)["macs"] * b + 1e9 for n in names for b in THREADS}
    rows = read()
    todo = [k for k in work if arguments.again or k not in rows or not is_tight(rows[k])]
    todo.sort(key=lambda key: (info.facts(key[0])["macs"], key[1]))  # small models first
    begin, done, failed = time.perf_counter(), 0.0, 0
    for number, key in enumerate(todo, 1):
        said = f"{number}/{len(todo)} {key[0]}, batch {key[1]}: "
        try:
            with tempfile.TemporaryDirectory() as folder:
                row = measure(*key, Path(folder), arguments.torch_python, arguments.seconds, prefix)
        except (RuntimeError, ValueError, subprocess.TimeoutExpired) as error:
            failed += 1
            said += f"{type(error).__name__}: {error}"
        else:
            rows = read()  # what another run has written meanwhile stays
            if arguments.again or key not in rows or spread(row) < spread(rows[key]):
                rows[key] = row
            ordered = [rows[n, b] for n in MODELS for b in THREADS if (n, b) in rows]
            OUT.write_text("".join(json.dumps(each) + "\n" for each in ordered))
            said += (
                f"{row['ours_ms']:.2f} / {row['theirs_ms']:.2f} ms ({row['best']}), {row['ratio']:.3f} "
                f"[{row['low']:.3f}, {row['high']:.3f}], {row['calls']} {'clean ' * row['clean']}calls"
            )
        done += work[key]
        left = (time.perf_counter() - begin) / done * (sum(work[k] for k in todo) - done)
        print(f"{said}; about {left / 60:.0f} min left", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--write-ours"]:
        print(json.dumps(write_ours(sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))))
    elif sys.argv[1:2] == ["--time"]:
        _, _, _, number_of_images, path, tried, limit = sys.argv
        print(json.dumps(time_files(int(number_of_images), Path(path), tried.split(","), float(limit))))
    else:
        sys.exit(main(sys.argv[1:]))
