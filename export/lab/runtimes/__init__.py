"""Where subjects run. Importing this package imports none of the runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from export.lab.files import Files
from export.lab.rounds import Ready
from export.lab.setting import Setting
from export.lab.subject import Subject

#: In the order in which tables show them. `torch` and `torch_compile` run the twin of a registry model.
NAMES = (
    "tensorrt",
    "tensorrt_rtx",
    "onnxruntime_cuda",
    "onnxruntime",
    "xla",
    "torch",
    "torch_compile",
)


class Runtime(Protocol):
    """One of NAMES on this machine."""

    name: str
    device: str  # "cpu" or "gpu"

    def why_not(self, setting: Setting) -> str | None:
        """Why nothing can be run so on this machine, in one line; None if it can."""
        ...

    def refuses(self, subject: Subject, setting: Setting) -> str | None:
        """Why this subject cannot be run, though others can (no twin in torch, for example)."""
        ...

    def prepare(self, subject: Subject, setting: Setting, files: Files) -> Ready:
        """Exports, builds, loads and compiles.

        Raises:
          BuildError: it does not build; the message says what the runtime said.
        """
        ...

    def versions(self) -> dict[str, str]: ...


def make(name: str, *, torch_python: Path | None = None) -> Runtime:
    """The runtime of that name.

    Args:
      torch_python: the Python that has torch and timm, where this one has not; for the twins.

    Raises:
      ValueError: no such name. MissingExtra: it is not installed.
    """
    if name == "onnxruntime":
        from export.lab.runtimes.onnxruntime import OnnxRuntimeCpu

        return OnnxRuntimeCpu()
    if name == "xla":
        from export.lab.runtimes.xla import Xla

        return Xla()
    raise ValueError(f"runtime {name!r}: expected one of {', '.join(NAMES)}")
