"""An engine on disk, with what its report says it needs before it runs: weights, or leave to run its code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from export.arguments import UsageError
from export.provenance import sha256
from export.recipe import REPORT
from export.runtimes import Built

ONNX = "model.onnx"


def read_engine(path: Path, runtime: str, *, trusted: bool = False) -> Built:
    """The engine at `path`, built by `runtime`.

    Args:
      trusted: let a version-compatible engine run the code for the CPU that it brings.

    Raises:
      UsageError: it cannot be read; it has no weights, and the model.onnx that it was built from is neither
        beside it nor in the folder above; it brings code and is not trusted.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"--engine {path}: {error.strerror or error}") from error
    report = _report(path.parent)
    options = _section(_section(report, "engine"), "options")
    flags = options.get("builder_flags")
    told = {
        "builder_flags": [flag for flag in flags if isinstance(flag, str)] if isinstance(flags, list) else []
    }
    built = Built(runtime, b"", data, 0.0, options=told)
    if built.host_code and not trusted:
        raise UsageError(
            f"--engine {path} is version-compatible: it brings a program that runs on this computer; "
            "add --trust-engine if you know where it comes from"
        )
    if not built.stripped:
        return built
    known = _section(_section(report, "files"), ONNX).get("sha256")
    for folder in (path.parent, path.parent.parent):
        model = folder / ONNX
        if model.is_file() and sha256(content := model.read_bytes()) == known:
            return Built(runtime, content, data, 0.0, options=told)
    raise UsageError(
        f"--engine {path} has no weights, and the {ONNX} that it was built from is neither beside it nor "
        f"in the folder above (SHA-256 {known})"
    )


def _report(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _section(data: dict[str, Any], name: str) -> dict[str, Any]:
    found = data.get(name)
    return found if isinstance(found, dict) else {}
