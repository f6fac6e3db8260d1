"""Exported files and engines opened to answer: what `export.run` and `export.score` have in common."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from export import runtimes
from export._optional import available, require
from export.arguments import UsageError
from export.engine_file import read_engine
from export.recipe import REPORT
from export.runtimes import BuildError, Built, Session

ONNX, ENGINE = "model.onnx", "model.engine"


def file_at(flag: str, given: str, name: str) -> Path:
    """The file that is `given`, or the one called `name` in the folder that is.

    Raises:
      UsageError: there is none; `flag` is named.
    """
    path = Path(given).expanduser()
    if path.is_dir():
        path = path / name
        if not path.is_file():
            raise UsageError(f"{flag} {given}: the folder holds no {name}")
    if not path.is_file():
        raise UsageError(f"{flag} {given}: no such file or folder")
    return path


def open_onnx(model: Any, data: bytes, provider: str, *, rounds: bool = False) -> Session:
    """ONNX Runtime on a file, or on a float32 copy that rounds wherever the file does, with a line on stderr.

    The CPU provider cannot compute in bfloat16; float16 it computes in float32, without rounding.

    Args:
      model, data: the file, read and as bytes.
      provider: a key of `runtimes.providers.PROVIDERS`.
      rounds: run the copy for float16 too.
    Raises:
      UsageError: the installed ONNX Runtime has no such provider.
      BuildError: it does not load the file.
    """
    runtime = runtimes.make("onnxruntime", provider)
    reason = runtime.why_not_build()
    if reason is not None:
        raise UsageError(f"--provider {provider}: {reason}")
    kinds = require("onnx").TensorProto
    held = {tensor.data_type for tensor in model.graph.initializer}
    if provider == "cpu" and rounds and kinds.FLOAT16 in held:
        return _open_copy(runtime, model, "ONNX Runtime computes float16 in float32 on the CPU")
    try:
        return runtime.open(Built(runtime.name, data, None, 0.0))
    except BuildError:
        if provider != "cpu" or kinds.BFLOAT16 not in held:
            raise
    return _open_copy(runtime, model, "ONNX Runtime has no bfloat16 arithmetic")


def _open_copy(runtime: Any, model: Any, why: str) -> Session:
    from export.precision.emulate import emulated

    print(
        f"notice: {why}; these are the answers of a float32 copy that rounds wherever the file does",
        file=sys.stderr,
    )
    try:
        copy = emulated(require("onnx").shape_inference.infer_shapes(model))
    except Exception as error:  # onnx has classes of its own; and what is no graph of ours may lack types
        raise BuildError(f"no float32 copy can be made of it: {error}") from error
    return runtime.open(Built(runtime.name, copy.SerializeToString(), None, 0.0))


def check_gpu(given: str, path: Path) -> None:
    """Raises UsageError where the engine that is `given`, at `path`, cannot run."""
    from export.runtimes import cuda

    reason = cuda.why_no_gpu()
    if reason is not None:
        raise UsageError(
            f"--engine {given}: an engine runs on a GPU only, and here is {reason}; "
            f"run its ONNX file: --onnx {path.parent}"
        )


def open_engine(path: Path, *, trusted: bool) -> Any:
    """An engine on the GPU, by the runtime that built it.

    Args:
      trusted: as of `engine_file.read_engine`.
    Returns:
      A `runtimes.engine.EngineSession`.
    Raises:
      UsageError: as `read_engine`. BuildError: the runtime does not load it.
    """
    name = _runtime_of(path.parent)
    built = read_engine(path, name, trusted=trusted)
    return runtimes.make(name).open(built)


def metadata_beside(engine: Path) -> dict[str, str]:
    """What the ONNX file says that lies beside an engine, if one does."""
    path = engine.parent / ONNX
    if not path.is_file():
        return {}
    try:
        model = require("onnx").load_model_from_string(path.read_bytes())
    except Exception as error:  # protobuf raises classes of its own for what is no ONNX file
        raise UsageError(f"{path} is not an ONNX model") from error
    return {entry.key: entry.value for entry in model.metadata_props}


def _runtime_of(folder: Path) -> str:
    """The runtime that built the engine of a folder, by its report; else the one that is installed."""
    try:
        name = json.loads((folder / REPORT).read_text(encoding="utf-8"))["engine"]["runtime"]
    except (OSError, ValueError, KeyError, TypeError):
        name = None
    if name in runtimes.MODULE_OF and name != "onnxruntime":
        return name
    builders = [name for name in runtimes.NAMES if name != "onnxruntime"]
    return next((name for name in builders if available(runtimes.MODULE_OF[name])), builders[0])
