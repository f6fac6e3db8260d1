"""Which programs on which machine made a file: versions and hashes for the report."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "hvjax", "jax", "jaxlib", "flax", "numpy", "onnx", "onnxruntime", "tensorflow", "tf2onnx",
    "tensorrt", "tensorrt-rtx-cu13-libs", "cuda-bindings",
)  # fmt: skip
#: Seconds to wait for nvidia-smi; a hanging driver must not hang an export.
_PATIENCE = 20
#: Bytes hashed at a time.
_PIECE = 1 << 20


def versions() -> dict[str, str]:
    """Python and those of `PACKAGES` that are installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, str | int]:
    """Operating system, processor and the number of CPUs this process may use."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {"system": f"{platform.system()} {platform.machine()}", "processor": _processor(), "cpus": cpus}


def gpu() -> dict[str, str] | None:
    """Name, driver and clocks of the first GPU as nvidia-smi tells them, or None without one."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    keys = ("name", "driver_version", "clocks.sm", "clocks.max.sm", "clocks.mem", "temperature.gpu",
            "power.limit", "memory.total")  # fmt: skip
    command = [tool, f"--query-gpu={','.join(keys)}", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    lines = answer.strip().splitlines()
    return dict(zip(keys, (value.strip() for value in lines[0].split(",")), strict=False)) if lines else None


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def checkpoint(given: str, step: int | None = None) -> dict[str, str | int] | None:
    """Path, files, bytes and SHA-256 of what was exported; None for a bare model name.

    Of a file it is the file's own. Of a folder (a training run's: its checkpoint of `step`) it is that of
    its list of files and hashes, as this prints it::

        cd FOLDER && find . -type f -printf '%P\\n' | LC_ALL=C sort | xargs -d '\\n' sha256sum | sha256sum
    """
    path = Path(given).expanduser()
    if path.is_file():
        return {"path": str(path), "files": 1, "bytes": path.stat().st_size, "sha256": _file_sha256(path)}
    if not path.is_dir():
        return None
    if step is not None:
        inside = (path / "checkpoints" / str(step), path / str(step))
        path = next((folder for folder in inside if folder.is_dir()), path)
    files = {file.relative_to(path).as_posix(): file for file in path.rglob("*") if file.is_file()}
    names = sorted(files, key=os.fsencode)  # as `LC_ALL=C sort`: by bytes
    lines = "".join(f"{_file_sha256(files[name])}  {name}\n" for name in names)
    size = sum(file.stat().st_size for file in files.values())
    return {"path": str(path), "files": len(files), "bytes": size, "sha256": sha256(os.fsencode(lines))}


def _file_sha256(path: Path) -> str:
    """In pieces: checkpoints are large. hashlib.file_digest is not in Python 3.10, as bundles need."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or "unknown"
    names = (line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name"))
    return next(names, platform.processor() or "unknown")
