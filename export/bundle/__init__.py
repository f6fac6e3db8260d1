"""The bundle: a folder that holds an exported model and all that proves and feeds it, without JAX.

    model.onnx      the graph
    gate.npz        inputs as the graph takes them, the expected outputs, the tolerances
    preprocess.json how an image becomes such an input
    labels.json     names of the classes, or null
    trtexec.txt     the matching command lines of TensorRT's own tools
    config.pbtxt    for Triton Inference Server
    manifest.json   what it is, where it comes from, and the SHA-256 of every file above

The modules of this package, and all that `export.bundle.command` imports, run on Python 3.10 with NumPy
and a TensorRT alone: `tests/export/test_bundle_road.py` holds them to it.
"""

from __future__ import annotations

MANIFEST = "manifest.json"
#: Files a manifest must list.
FILES = ("model.onnx", "gate.npz", "preprocess.json", "labels.json", "trtexec.txt", "config.pbtxt")
#: What marks a manifest.json as ours.
KIND = "hvjax export bundle"
#: The newest format that is read. Raised when a reader of the format before could misunderstand a bundle; new
#: fields do not raise it. 2: the file gives something else than classes, by several outputs perhaps.
FORMAT = 2
CLASSES = "classes"
#: What a file may answer, as `export.kind` has it.
ANSWERS = (CLASSES, "stages", "map", "detections")


class BundleError(ValueError):
    """The folder is no bundle, or a damaged or newer one; the message is one line that names the file."""


def format_of(answers: str) -> int:
    """The format of a bundle whose file gives `answers`: the oldest that says all of it, so that versions
    from before the others read bundles of classifiers."""
    return 1 if answers == CLASSES else FORMAT
