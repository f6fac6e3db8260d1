"""Where subjects run. Importing this package imports none of the runtimes.

Everything that one runtime makes ready can be measured in turns (`export.lab.rounds`), and so can what
several runtimes made ready, to compare them with each other. What is done so that one does not disturb the
next:

- threads of ONNX Runtime and of PyTorch go to sleep after each answer (`session.force_spinning_stop`; the
  process with PyTorch answers when its threads sleep); XLA's sleep by themselves within microseconds;
- on a GPU each waits for its answer before the next one starts; JAX takes memory as it needs it instead of
  most of it at once.

What stays unequal between runtimes, and has to be said beside such a comparison:

- PyTorch runs in a process of its own with caches of its own, the others share one;
- the clock of engines and of PyTorch on a GPU are CUDA events, that of ONNX Runtime and XLA there is the
  machine's around the whole call: these two include some tens of microseconds of their Python interface;
- XLA gets hvjax's own fast forms of convolutions on a CPU, ONNX Runtime plain ones, as each is deployed;
- ONNX Runtime takes `Setting.threads`, XLA always all threads of the process (so it refuses a number);
- each contender finds the caches filled by another one; `rounds` calls short ones once before the call that
  counts.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from export.lab.files import Files
from export.lab.rounds import Ready
from export.lab.setting import Setting
from export.lab.subject import Subject

#: In the order in which tables show them; the last three run the twin of a registry model.
NAMES = (
    "tensorrt",
    "tensorrt_rtx",
    "onnxruntime_cuda",
    "onnxruntime",
    "xla",
    "torch",
    "torch_compile",
    "torch_onnx",
)
#: What is tried where nobody says which.
DEFAULT = NAMES[:5]


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
      torch_python: an interpreter with torch and timm, for the runtimes of twins; this one by default.

    Raises:
      ValueError: no such name. MissingExtra: it is not installed.
    """
    # read when JAX meets the GPU: by default it takes three quarters of the memory, and the others run short
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if name == "onnxruntime":
        from export.lab.runtimes.onnxruntime import OnnxRuntimeCpu

        return OnnxRuntimeCpu()
    if name == "onnxruntime_cuda":
        from export.lab.runtimes.onnxruntime_cuda import OnnxRuntimeCuda

        return OnnxRuntimeCuda()
    if name == "xla":
        from export.lab.runtimes.xla import Xla

        return Xla()
    if name in ("tensorrt", "tensorrt_rtx"):
        from export.lab.runtimes.engine import Engines

        return Engines(name)
    if name in ("torch", "torch_compile", "torch_onnx"):
        from export.lab.runtimes.twins import make_twins

        return make_twins(name, torch_python)
    raise ValueError(f"runtime {name!r}: expected one of {', '.join(NAMES)}")


def not_on_cpu(setting: Setting) -> str | None:
    """Why a setting has no meaning where a CPU computes; None if it has."""
    if setting.cuda_graph:
        return "a CPU replays no CUDA graph"
    return "nothing is transferred where a CPU computes" if setting.transfers else None
