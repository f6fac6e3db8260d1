"""How much memory a loaded network takes: what the runtime tells, and by how much that in use has grown.

Keys of `Ready.memory`, all in bytes; each runtime has those that it can know:

===========  ========================================================================================
key          meaning
===========  ========================================================================================
file         the ONNX file
engine       the engine file
weights      parameters in memory, as the runtime tells
activations  the largest working memory of one call, as the runtime tells
code         compiled code (XLA)
loaded       growth of the memory in use from before the network was loaded until it was
running      the same until after its first call: weights, working memory and all that comes with it
===========  ========================================================================================

Memory in use is the process's resident memory where a CPU computes, and the GPU's memory, all processes
together, where a GPU does. So nothing else may start or end on the GPU meanwhile. The 2022 T4 study gives the
memory of the whole process on the GPU: the CUDA context, some hundred MB, is in its figures and not in these.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

_PAGES = Path("/proc/self/statm")


def resident() -> int | None:
    """Bytes of this process that are in main memory; None where the system does not tell (no /proc)."""
    gc.collect()
    _return_what_is_free()
    if not _PAGES.is_file():
        return None
    return int(_PAGES.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _return_what_is_free() -> None:
    """glibc keeps freed memory for later: the growth of what comes next would be hidden in it."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


class Growth:
    """Bytes that `used` has grown by since this was made."""

    def __init__(self, used: Callable[[], int | None]) -> None:
        self._used, self._before = used, used()

    def entry(self, name: str, now: int | None = None) -> dict[str, int]:
        """{name: bytes}, or {} where it cannot be known. `now`: in use, if not what `used` says."""
        now = self._used() if now is None else now
        return {} if now is None or self._before is None else {name: max(0, now - self._before)}


def total(memory: Mapping[str, int]) -> int | None:
    """The one figure of `Ready.memory` for a table: what is in use after the first call, or, where that is
    not known, the sum of what the runtime tells of weights and working memory; None where it tells neither.
    The kinds overlap: they may not simply be added up."""
    if "running" in memory:
        return memory["running"]
    told = [memory[kind] for kind in ("weights", "activations") if kind in memory]
    return sum(told) if told else memory.get("loaded")
