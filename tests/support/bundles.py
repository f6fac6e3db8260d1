"""Bundles of the tiny network, written without JAX, to plant mistakes in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from export import economy
from export.attribution import node_names
from export.bundle.gatefile import GateFile
from export.bundle.tolerances import tolerances
from export.bundle.write import bundle_files
from export.provenance import sha256

IMAGES = 8


def report_of(net: Any, model: bytes, precision: str, batch: tuple[int, int, int]) -> dict[str, Any]:
    """What an export's report.json says of the tiny network, as far as a bundle takes it over."""
    minimum, typical, maximum = batch
    first = "batch" if minimum != maximum else typical
    return {
        "created": "2026-01-01T00:00:00+00:00",
        "command": "python -m export.to_onnx --ckpt tiny.safetensors",
        "model": {
            "name": "tiny", "source": "tiny.safetensors", "random_weights": False, "precision": precision,
            "via": "stablehlo", "batch": {"minimum": minimum, "typical": typical, "maximum": maximum},
            "image_size": [net.size, net.size], "input_layout": "nchw",
            "input_shape": [first, 3, net.size, net.size], "mean": [0.5] * 3, "std": [0.25] * 3,
            "num_classes": 5, "class_names": [], "training": {},
        },
        "gate": {
            "passed": True, "limit": 1e-5, "images": {"count": IMAGES, "source": "random numbers"},
            "skipped_images": [], "comparisons": [], "stages": [], "noise": {}, "begins_at": None,
        },
        "graph": economy.count(model).as_dict(),
        "proof": {"checkpoint": None, "validation": None},
        "versions": {"hvjax": "0", "jax": "0", "onnxruntime": "0.1"},
    }  # fmt: skip


def gate_of(net: Any, precision: str = "fp32") -> GateFile:
    images = net.images(IMAGES)
    expected = {"logits": net.features(images)["logits"]}
    return GateFile(
        input="images",
        inputs=images.transpose(0, 3, 1, 2).copy(),
        expected=expected,
        tolerances=tolerances("classes", precision, 1e-5 if precision == "fp32" else 2e-3, expected),
        exact_top1=precision == "fp32",
    )


def write(
    net: Any, folder: Path, batch: tuple[int, int, int] = (1, 2, 4), precision: str = "fp32", **options: Any
) -> Path:
    """A whole bundle in `folder`; `options` replace those of `bundle_files`."""
    fixed = batch[0] == batch[2]
    model = net.make(batch[1] if fixed else "batch", half=precision == "fp16")
    settings = {"crop_pct": 0.875, "interpolation": "bicubic", "channels": 3, "nodes": node_names(model)}
    report = report_of(net, model, precision, batch)
    files = bundle_files(report, model, gate_of(net, precision), **{**settings, **options})
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in {"model.onnx": model, **files}.items():
        (folder / name).write_bytes(content)
    return folder


def replace(folder: Path, name: str, content: bytes) -> None:
    """Another content for a file, and a manifest that knows it: damage that hashes do not tell."""
    (folder / name).write_bytes(content)
    change(folder, lambda manifest: manifest["files"].update({name: entry(content)}))


def entry(content: bytes) -> dict[str, Any]:
    return {"bytes": len(content), "sha256": sha256(content)}


def change(folder: Path, edit: Any) -> None:
    """`edit` changes the manifest in place."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    edit(manifest)
    path.write_text(json.dumps(manifest))
