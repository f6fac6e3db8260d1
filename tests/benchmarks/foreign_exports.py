"""Compare exports of networks that are not hvjax's with those of jax2onnx.

`foreign_exports.py --jax2onnx PYTHON`: the interpreter of an environment with jax2onnx, flax and onnxruntime.
Every network of tests/support/foreign is exported at full size for one image, by hvjax in float32 and float16
and by jax2onnx in float32; each file is run in ONNX Runtime against JAX and built by TensorRT for RTX, which
needs no GPU. Writes docs/results/foreign.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "tests" / "benchmarks")]

RIGHT = 1e-5  # of the largest result: the project's limit for float32
TIMEOUT = 240  # seconds for one export by jax2onnx


def theirs(name: str, file: str) -> None:
    """Runs in the other environment: export `name` as its documentation says, weights as constants."""
    import jax
    from foreign import load
    from jax2onnx import to_onnx

    loaded = load(name, small=False, batch=1)
    weights = jax.tree.map(jax.numpy.asarray, loaded.weights)
    model = to_onnx(lambda x: loaded.fn(weights, x), [tuple(loaded.images.shape)], inputs_as_nchw=[0])
    Path(file).write_bytes(model.SerializeToString())


def ours(name: str, dtype: str, file: Path) -> float:
    """Write the file; returns the seconds that the export took."""
    import jax.numpy as jnp
    from foreign import load

    from export import convert

    loaded = load(name, small=False, dtype=jnp.dtype(dtype), batch=1)
    start = time.perf_counter()
    model = convert(loaded.fn, loaded.images, weights=loaded.weights, input_layout="nchw")
    seconds = time.perf_counter() - start
    file.write_bytes(model.SerializeToString())
    return seconds


def error(file: Path, images: Any, wanted: Any) -> float:
    """Largest difference from JAX in ONNX Runtime, of the largest result."""
    import numpy as np
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    if entry.shape[1] == images.shape[3]:
        images = images.transpose(0, 3, 1, 2)
    found: Any = session.run(None, {entry.name: images})[0]
    if found.shape != wanted.shape:
        return float("inf")
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def measure(file: Path, images: Any, wanted: Any) -> dict[str, Any]:
    """Counts and error of one file."""
    from count_kernels import count

    try:
        return {"error": error(file, images, wanted), **_renamed(count(file.read_bytes(), 1))}
    except Exception as problem:  # whatever the runtime says of another exporter's file belongs in the table
        return {"fails": _line(str(problem))}


def _renamed(counts: dict[str, Any]) -> dict[str, Any]:
    if "error" in counts:
        counts["build"] = _line(str(counts.pop("error")))
    return counts


def compare(name: str, python: str | None, folder: Path) -> dict[str, Any]:
    """All that the table says of one network."""
    import jax
    import numpy as np
    from foreign import load

    loaded = load(name, small=False, batch=1)
    wanted = np.asarray(jax.jit(loaded.fn)(loaded.weights, loaded.images))
    found: dict[str, Any] = {"model": name}
    for dtype in ("float32", "float16"):
        file = folder / f"{name}_{dtype}.onnx"
        seconds = ours(name, dtype, file)
        found[dtype] = {"seconds": seconds, **measure(file, loaded.images, wanted)}
    if python is None:
        return found
    file = folder / f"{name}_jax2onnx.onnx"
    command = [python, __file__, "--theirs", name, str(file)]
    try:
        run = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
            env={**os.environ, "JAX_TRACEBACK_FILTERING": "off"},
        )
        complaint = _line(run.stderr) if run.returncode else ""
    except subprocess.TimeoutExpired:
        complaint = f"no file after {TIMEOUT} s"
    found["jax2onnx"] = {"fails": complaint} if complaint else measure(file, loaded.images, wanted)
    return found


def _line(text: str) -> str:
    """The last line, where Python and the runtimes say what happened."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return (lines or ["no message"])[-1][:150].replace("|", "/")


def _verdict(found: dict[str, Any]) -> str:
    if "fails" in found:
        return f"fails: {found['fails']}"
    return f"{'right' if found['error'] <= RIGHT else 'wrong'} ({found['error']:.1e})"


def _kernels(found: dict[str, Any]) -> str:
    if "kernels" in found:
        return f"{found['kernels']} ({found['moves']})"
    return f"not built: {found['build']}" if "build" in found else "-"


def page(rows: list[dict[str, Any]], version: str) -> str:
    """The Markdown page."""
    head = f"""# Networks that are not hvjax's

Written by `tests/benchmarks/foreign_exports.py`: the networks of `tests/support/foreign` at full size, as
users of flax.linen and flax.nnx write them, for one image of 224 x 224 in NCHW order. Errors: ONNX Runtime on
the CPU against JAX in float32, of the largest result. Kernels: TensorRT for RTX, those that only move data in
brackets. jax2onnx is {version}, float32, weights as constants; *right* means an error of at most {RIGHT:.0e}.

| network | float32 error | nodes | Transposes | kernels | float16 error | nodes | kernels | jax2onnx \
| nodes | Transposes | kernels |
|---|---|---|---|---|---|---|---|---|---|---|---|
"""
    lines = []
    for row in rows:
        full, half, other = row["float32"], row["float16"], row.get("jax2onnx", {"fails": "not run"})
        cells = [
            row["model"],
            f"{full['error']:.1e}",
            full["nodes"],
            full["transposes"],
            _kernels(full),
            f"{half['error']:.1e}",
            half["nodes"],
            _kernels(half),
            _verdict(other),
            other.get("nodes", "-"),
            other.get("transposes", "-"),
            _kernels(other),
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |\n")
    return head + "".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jax2onnx", metavar="PYTHON", help="interpreter of the environment with jax2onnx")
    parser.add_argument("--models", nargs="+", help="only these networks; prints, writes no page")
    parser.add_argument("--theirs", nargs=2, metavar=("MODEL", "FILE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.theirs:
        theirs(*arguments.theirs)
        return 0
    from foreign import MODELS

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.models or MODELS:
            rows.append(compare(name, arguments.jax2onnx, Path(folder)))
            print(json.dumps(rows[-1], default=str), flush=True)
    version = "not run"
    if arguments.jax2onnx:
        code = "import importlib.metadata as m; print(m.version('jax2onnx'), 'with jax', m.version('jax'))"
        version = subprocess.run(
            [arguments.jax2onnx, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
    if not arguments.models:
        (ROOT / "docs" / "results" / "foreign.md").write_text(page(rows, version))
    return 0


if __name__ == "__main__":
    sys.exit(main())
