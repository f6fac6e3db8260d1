"""The files of a bundle, from the report of an accepted export and the arrays of its gate."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from export.batch import BatchRange
from export.bundle import FORMAT, KIND, MANIFEST, triton
from export.bundle import preprocess as preprocessing
from export.bundle.gatefile import GateFile
from export.bundle.trtexec import command_lines
from export.ends.spec import from_dict
from export.provenance import sha256
from export.runtimes import BuildOptions

#: Images kept in gate.npz unless a batch needs more.
KEPT_IMAGES = 16
#: Precisions that ONNX Runtime's optimiser breaks: it takes float8 files apart, and clips the biases of int8
#: files with float16 scales.
REWRITTEN_WRONGLY = frozenset({"fp8", "int8"})
#: Sections of a report that say what one machine did; the others are of the file and travel with it.
OF_THE_MACHINE = frozenset(
    {
        "format", "created", "command", "accepted", "reasons", "notices", "model", "engine", "latency",
        "seconds", "files", "versions", "machine", "gpu", "worth",
    }
)  # fmt: skip


def bundle_files(
    report: Mapping[str, Any],
    model: bytes,
    gate: GateFile,
    *,
    crop_pct: float,
    interpolation: str,
    channels: int,
    nodes: Sequence[str],
    platform: str = "onnxruntime_onnx",
    options: BuildOptions | None = None,
) -> dict[str, bytes]:
    """Name -> content of every file of the bundle but model.onnx, which is listed in the manifest too.

    Args:
      report: the content of report.json.
      gate: more images than `KEPT_IMAGES` and the largest batch are left out.
      crop_pct, interpolation, channels: of the model's images, as the registry has them.
      nodes: names of the graph's nodes, to tell the layers of an engine from.
      platform: what Triton is to serve, a key of `triton.PLATFORMS`.
      options: what the builder was told, for trtexec.txt.
    """
    described = report["model"]
    batch = BatchRange(**described["batch"])
    gate = _first(gate, max(KEPT_IMAGES, batch.maximum))
    shape, classes = gate.inputs.shape[1:], gate.expected.shape[1:]
    outputs = from_dict(described).outputs(gate.output, classes[-1])
    dtype = str(gate.inputs.dtype)
    prepared = preprocessing.describe(
        described,
        crop_pct=crop_pct,
        interpolation=interpolation,
        name=gate.input,
        dtype=dtype,
        channels=channels,
    )
    served = triton.config(
        described["name"],
        platform,
        batch,
        (gate.input, shape, gate.inputs.dtype),
        *outputs,
        optimise=platform != "onnxruntime_onnx" or described["precision"] not in REWRITTEN_WRONGLY,
    )
    files = {
        "gate.npz": gate.pack(),
        "preprocess.json": _json(prepared),
        "labels.json": _json(list(described["class_names"]) or None),
        "trtexec.txt": command_lines(gate.input, shape, batch, options).encode(),
        "config.pbtxt": served.encode(),
    }
    listed = {"model.onnx": model, **files}
    manifest = {
        "bundle": KIND,
        "format": FORMAT,
        "created": report["created"],
        "command": report["command"],
        "checkpoint": described["source"],
        "model": dict(described),
        "input": {"name": gate.input, "dtype": dtype, "shape": list(shape)},
        "output": {"name": gate.output, "dtype": str(gate.expected.dtype), "shape": list(classes)},
        "outputs": [{"name": name, "dtype": kind, "shape": list(axes)} for name, axes, kind in outputs],
        "versions": dict(report["versions"]),
        "nodes": list(nodes),
        "report": {key: value for key, value in report.items() if key not in OF_THE_MACHINE},
        "files": {name: {"bytes": len(data), "sha256": sha256(data)} for name, data in listed.items()},
    }
    return {**files, MANIFEST: _json(manifest)}


def _first(gate: GateFile, count: int) -> GateFile:
    return GateFile(
        gate.input,
        gate.output,
        gate.inputs[:count],
        gate.expected[:count],
        gate.tolerances,
        gate.exact_top1,
        gate.top,
    )


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()
