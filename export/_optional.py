"""Optional packages: the import, or the `pip install` line of the extra that brings it."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

#: module -> the extra of hvjax that installs it.
EXTRA_OF = {
    "onnx": "export",
    "onnxruntime": "export",
    "tensorflow": "export",
    "tf2onnx": "export",
    "matplotlib": "export",
    "PIL": "export",
    "sklearn": "export",
    "tensorrt": "tensorrt",
    "tensorrt_rtx_bindings": "tensorrt-rtx",
    "cuda.bindings": "tensorrt-rtx",
    "orbax.checkpoint": "train",
    "ml_collections": "train",
    "grain": "train",
}


class MissingExtra(ImportError):
    """A package of an extra is not installed; the message holds the line that installs it."""


def available(module: str) -> bool:
    """Whether `module` is installed; imports its parent package, not the module itself."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def require(module: str) -> ModuleType:
    """Imports and returns `module`, or raises `MissingExtra` with the pip line.

    A dotted name is looked up in `EXTRA_OF` by itself and by each of its parents, so that
    `require("matplotlib.pyplot")` names the extra of matplotlib.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        owner = _owner(module)
        if (
            owner is None
            or error.name is None
            or not (error.name + ".").startswith(owner.split(".")[0] + ".")
        ):
            raise  # a broken installation of something else: its own message says more than ours
        line = f"pip install 'hvjax[{EXTRA_OF[owner]}]'"
        raise MissingExtra(f"this needs the package {owner}, which is not installed: {line}") from error


def _owner(module: str) -> str | None:
    parts = module.split(".")
    names = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((name for name in names if name in EXTRA_OF), None)
