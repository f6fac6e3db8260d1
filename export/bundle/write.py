"""The files of a bundle, from the report of an accepted export and the arrays of its gate."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from export.batch import BatchRange
from export.bundle import CLASSES, KIND, MANIFEST, format_of, triton
from export.bundle import preprocess as preprocessing
from export.bundle.canvas import describe_canvas
from export.bundle.gatefile import GateFile
from export.bundle.trtexec import command_lines
from export.ends.spec import from_dict
from export.provenance import sha256
from export.runtimes import BuildOptions

#: Images kept in gate.npz unless a batch needs more.
KEPT_IMAGES = 16
#: Bytes beyond which maps of more images than the largest batch needs are left out: two of 512x512 pixels and
#: 150 classes are 315 MB.
ENOUGH = 64 << 20
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
    sides: Sequence[int] | None = None,
    platform: str = "onnxruntime_onnx",
    options: BuildOptions | None = None,
) -> dict[str, bytes]:
    """Name -> content of every file of the bundle but model.onnx, which is listed in the manifest too.

    Args:
      report: the content of report.json.
      gate: images beyond `kept` are left out.
      crop_pct, interpolation, channels: of the model's images, as the registry has them.
      nodes: names of the graph's nodes, to tell the layers of an engine from.
      sides: of images on the canvas, as for `describe_canvas`.
      platform: what Triton is to serve, a key of `triton.PLATFORMS`.
      options: what the builder was told, for trtexec.txt.
    """
    described = report["model"]
    batch = BatchRange(**described["batch"])
    gate = kept(gate, batch)
    shape = gate.inputs.shape[1:]
    ends = from_dict(described)
    outputs = gate.outputs(ends)
    dtype = str(gate.inputs.dtype)
    if gate.answers == CLASSES:
        prepared = preprocessing.describe(
            described,
            crop_pct=crop_pct,
            interpolation=interpolation,
            name=gate.input,
            dtype=dtype,
            channels=channels,
        )
    else:
        prepared = describe_canvas(described, sides=sides, name=gate.input, dtype=dtype, channels=channels)
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
        "format": format_of(gate.answers),
        "created": report["created"],
        "command": report["command"],
        "checkpoint": described["source"],
        "model": dict(described),
        "input": {"name": gate.input, "dtype": dtype, "shape": list(shape)},
        **_output(gate),
        "outputs": [{"name": name, "dtype": kind, "shape": list(axes)} for name, axes, kind in outputs],
        "versions": dict(report["versions"]),
        "nodes": list(nodes),
        "report": {key: value for key, value in report.items() if key not in OF_THE_MACHINE},
        "files": {name: {"bytes": len(data), "sha256": sha256(data)} for name, data in listed.items()},
    }
    return {**files, MANIFEST: _json(manifest)}


def kept(gate: GateFile, batch: BatchRange) -> GateFile:
    """What of it a bundle keeps: never fewer images than the largest batch."""
    found = gate.first(max(KEPT_IMAGES, batch.maximum))
    if gate.answers == CLASSES or found.nbytes <= ENOUGH:
        return found
    return found.first(batch.maximum)


def _output(gate: GateFile) -> dict[str, Any]:
    """What is expected of a file that answers classes, which its `outputs` may give only the largest of."""
    if gate.answers != CLASSES:
        return {}
    ((name, value),) = gate.expected.items()
    return {"output": {"name": name, "dtype": str(value.dtype), "shape": list(value.shape[1:])}}


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()
