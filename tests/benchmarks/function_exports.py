"""Compare, function by function, what hvjax and jax2onnx make of JAX.

    function_exports.py [--jax2onnx PYTHON --version "jax2onnx 0.17.1"]

The functions are those of tests/support/functions.py. `PYTHON` is the interpreter of an environment with
jax2onnx and flax. Each file is run in ONNX Runtime on the CPU against JAX and built by TensorRT for RTX,
which needs no GPU. Writes docs/results/functions.jsonl and functions.md; without --jax2onnx its columns are
kept.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "tests" / "benchmarks")]
DATA, PAGE = ROOT / "docs" / "results" / "functions.jsonl", ROOT / "docs" / "results" / "functions.md"

RIGHT = 1e-5  # of the largest result: the project's limit for float32
TIMEOUT = 120  # seconds for one export by jax2onnx


def theirs(folder: Path, start: int) -> None:
    """Runs in the other environment: exports the functions from `start` on, as jax2onnx's documentation says.
    One line of JSON each."""
    import jax
    from functions import FUNCTIONS
    from jax2onnx import to_onnx

    for index, function in enumerate(FUNCTIONS[start:], start):
        print(json.dumps({"index": index}), flush=True)
        try:
            inputs = [jax.ShapeDtypeStruct(array.shape, array.dtype) for array in function.arrays()]
            model = to_onnx(function.fn, inputs)
            (folder / f"{index}.onnx").write_bytes(model.SerializeToString())
        except Exception as problem:  # whatever it says belongs in the table
            line = f"{type(problem).__name__}: {problem}"
            print(json.dumps({"index": index, "fails": _line(line)}), flush=True)


def all_of_theirs(python: str, folder: Path, count: int) -> dict[int, str]:
    """Failures by index; a function that ends or stops the process is skipped."""
    failed: dict[int, str] = {}
    start = 0
    while start < count:
        command = [python, __file__, "--theirs", str(folder), "--start", str(start)]
        environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
        )
        assert process.stdout is not None
        at = start
        for line in process.stdout:
            told = json.loads(line)
            at = told["index"]
            if "fails" in told:
                failed[at] = told["fails"]
            _progress("jax2onnx", at, count)
        if process.wait() == 0:
            break
        failed[at] = f"the process ended with status {process.returncode}"
        start = at + 1
    return failed


def measure(file: Path, function: Any, wanted: list[Any]) -> dict[str, Any]:
    """Verdict and counts of one file."""
    from export import economy

    try:
        found: dict[str, Any] = {"error": error(file, function, wanted)}
    except Exception as problem:
        return {"fails": f"in ONNX Runtime: {_line(str(problem))}"}
    graph = economy.count(file.read_bytes())
    return {**found, "nodes": graph.nodes, "transposes": graph.transposes, **kernels(file.read_bytes())}


def kernels(model: bytes) -> dict[str, Any]:
    """What TensorRT for RTX leaves of a file with any number of inputs (the runtimes of hvjax take one)."""
    import tensorrt_rtx_bindings as trt

    from export.runtimes.kernels import data_movements, read_kernels
    from export.runtimes.tensorrt import recording_logger

    log = recording_logger(trt)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(model):
        return {"build": f"not read: {_line(parser.get_error(0).desc())}"}
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if builder.build_serialized_network(network, config) is None:
        return {"build": f"not built: {_line((log.at(trt.ILogger.ERROR) or [''])[-1])}"}
    found = read_kernels(text for _, text in log.lines)
    return {"kernels": len(found), "moves": len(data_movements(found))}


def error(file: Path, function: Any, wanted: list[Any]) -> float:
    """Largest difference from JAX, of the largest value of each result; infinite for another shape."""
    import numpy as np
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    found: Any = session.run(None, dict(zip(names, function.arrays(), strict=True)))
    worst = 0.0
    for got, want in zip(found, wanted, strict=True):
        if got.shape != want.shape:
            return float("inf")
        got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
        worst = max(worst, float(np.abs(got - want).max() / max(np.abs(want).max(), 1e-30)))
    return worst


def ours(function: Any, file: Path) -> str | None:
    """Writes the file, or returns what the export says."""
    import jax

    import export

    try:
        model = export.convert(
            function.fn, *(jax.ShapeDtypeStruct(array.shape, array.dtype) for array in function.arrays())
        )
    except (ValueError, NotImplementedError) as problem:
        return _line(str(problem))
    file.write_bytes(model.SerializeToString())
    return None


def _line(text: str) -> str:
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return (lines or ["no message"])[0][:150].replace("|", "/").replace("`", "'")


def _progress(who: str, index: int, count: int) -> None:
    print(f"\r{who}: {index + 1}/{count}", end="", file=sys.stderr, flush=True)


def rows(python: str | None) -> list[dict[str, Any]]:
    import jax
    import numpy as np
    from functions import FUNCTIONS

    known = {}
    if python is None and DATA.exists():
        known = {row["name"]: row.get("jax2onnx") for row in map(json.loads, DATA.read_text().splitlines())}
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        failed = all_of_theirs(python, folder, len(FUNCTIONS)) if python else {}
        for index, function in enumerate(FUNCTIONS):
            _progress("measured", index, len(FUNCTIONS))
            wanted = [np.asarray(leaf) for leaf in jax.tree.leaves(jax.jit(function.fn)(*function.arrays()))]
            file = folder / "ours.onnx"
            complaint = ours(function, file)
            row: dict[str, Any] = {"group": function.group, "name": function.name}
            row["hvjax"] = {"fails": complaint} if complaint else measure(file, function, wanted)
            row["jax2onnx"] = known.get(function.name)
            if python:
                their_file = folder / f"{index}.onnx"
                row["jax2onnx"] = (
                    {"fails": failed[index]} if index in failed else measure(their_file, function, wanted)
                )
            found.append(row)
    print(file=sys.stderr)
    return found


def verdict(found: dict[str, Any] | None) -> str:
    """`right`, `wrong`, `fails` or `-` where it was not tried."""
    if found is None:
        return "-"
    if "fails" in found:
        return "fails"
    return "right" if found["error"] <= RIGHT else "wrong"


def _cells(found: dict[str, Any] | None) -> list[str]:
    said = verdict(found)
    if found is None or said == "fails":
        return [said, "", ""]
    kernels = f"{found['kernels']} ({found['moves']})" if "kernels" in found else "none"
    return [said if said == "right" else f"**{said}**", str(found["nodes"]), kernels]


def page(data: list[dict[str, Any]], version: str) -> str:
    """The Markdown page."""
    sums = {
        who: {word: sum(verdict(row[who]) == word for row in data) for word in ("right", "wrong", "fails")}
        for who in ("hvjax", "jax2onnx")
    }
    both = [r for r in data if verdict(r["hvjax"]) == verdict(r["jax2onnx"]) == "right"]
    built = [r for r in both if "kernels" in r["hvjax"] and "kernels" in r["jax2onnx"]]
    nodes, kernels = (
        tuple(sum(row[who][key] for row in part) for who in ("hvjax", "jax2onnx"))
        for key, part in (("nodes", both), ("kernels", built))
    )
    text = f"""# JAX, function by function

Written by `tests/benchmarks/function_exports.py`: {len(data)} functions as vision models call them
(`tests/support/functions.py`), exported by hvjax and by {version}, both in float32, all inputs and
results in the function's own order. *right*: ONNX Runtime on the CPU differs from JAX by at most {RIGHT:.0e}
of the largest value; *wrong*: by more, or in shape; *fails*: no file, or one that ONNX Runtime does not run.
Kernels: TensorRT for RTX, those that only move data in brackets.

| | right | wrong | fails |
|---|---|---|---|
"""
    for who, sum_of in sums.items():
        text += f"| {who} | {sum_of['right']} | {sum_of['wrong']} | {sum_of['fails']} |\n"
    text += (
        f"\nOn the {len(both)} that both get right: {nodes[0]} nodes against {nodes[1]}; on the "
        f"{len(built)} of them that build in both forms, {kernels[0]} kernels against {kernels[1]}.\n"
    )
    group = None
    for row in data:
        if row["group"] != group:
            group = row["group"]
            text += f"\n## {str(group).capitalize()}\n\n"
            text += "| function | hvjax | nodes | kernels | jax2onnx | nodes | kernels |\n"
            text += "|---|---|---|---|---|---|---|\n"
        cells = [f"`{row['name']}`", *_cells(row["hvjax"]), *_cells(row["jax2onnx"])]
        text += "| " + " | ".join(cells) + " |\n"
    complaints = [
        f"- `{row['name']}`, {who}: {row[who]['fails'] if 'fails' in row[who] else row[who]['build']}\n"
        for row in data
        for who in ("hvjax", "jax2onnx")
        if row[who] and ("fails" in row[who] or "build" in row[who])
    ]
    return text + "\n## What they say where they fail\n\n" + "".join(complaints)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jax2onnx", metavar="PYTHON", help="interpreter that has jax2onnx")
    parser.add_argument("--version", default="jax2onnx", help="what the page calls it: 'jax2onnx 0.17.1'")
    parser.add_argument("--theirs", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--start", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.theirs:
        theirs(arguments.theirs, arguments.start)
        return 0
    data = rows(arguments.jax2onnx)
    DATA.write_text("".join(json.dumps(row) + "\n" for row in data))
    PAGE.write_text(page(data, arguments.version))
    print(PAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
