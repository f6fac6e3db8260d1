"""Count what TensorRT for RTX leaves of ONNX files, with no GPU: `count_kernels.py --batch 8 FILE.onnx ...`.

Prints one line of JSON per file: nodes, Transposes, kernels and those that only move data (the rule of
export/runtimes/kernels.py), or {"error": ...} where the file is not read or not built.
"""

import argparse
import json
import sys
from pathlib import Path

from export import economy, runtimes
from export.batch import BatchRange
from export.runtimes import BuildError, BuildOptions
from export.runtimes.kernels import summary


def count(model: bytes, batch: int) -> dict:
    """Counts of one file of a static batch."""
    graph = economy.count(model)
    found: dict = {"nodes": graph.nodes, "transposes": graph.transposes, "operators": graph.operators}
    try:
        built = runtimes.make("tensorrt_rtx").build(model, BuildOptions(BatchRange(batch, batch, batch)))
    except BuildError as error:
        return {**found, "error": str(error)}
    kernels = summary(built.kernels or ())
    return {
        **found,
        "kernels": kernels["kernels"],
        "moves": kernels["data_movements"],
        "seconds": built.seconds,
    }


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, default=8, help="static batch of the files")
    parser.add_argument("files", nargs="+", type=Path)
    arguments = parser.parse_args(argv)
    for file in arguments.files:
        print(json.dumps({"file": str(file), **count(file.read_bytes(), arguments.batch)}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
