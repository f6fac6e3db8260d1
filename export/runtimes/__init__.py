"""Runtimes: what turns an ONNX file into something that runs, behind one small interface.

Three are known: `tensorrt` (10.x and 11.x), `tensorrt_rtx` (TensorRT for RTX, builds with no GPU) and
`onnxruntime` (runs the ONNX file itself on the CPU, builds nothing). Importing this package imports none
of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from export._optional import EXTRA_OF, available
from export.batch import BatchRange
from export.latency import Latency
from export.runtimes.builder import BuilderOptions
from export.runtimes.kernels import Kernel

if TYPE_CHECKING:
    from jaxtyping import Float

#: Names accepted by --runtime, in the order `auto` tries them.
NAMES = ("tensorrt", "tensorrt_rtx", "onnxruntime")
MODULE_OF = {"tensorrt": "tensorrt", "tensorrt_rtx": "tensorrt_rtx_bindings", "onnxruntime": "onnxruntime"}


class BuildError(RuntimeError):
    """The runtime could not read or build the file; the message says what it said."""


@dataclass(frozen=True)
class BuildOptions:
    """`batch`: sizes the engine must accept. `tf32`: let float32 products round to 10 mantissa bits.
    `targets`: GPU generations such as `("SM89",)`; empty means the runtime's own default. `builder`: the rare
    options."""

    batch: BatchRange
    tf32: bool = False
    targets: tuple[str, ...] = ()
    builder: BuilderOptions = field(default_factory=BuilderOptions)


@dataclass(frozen=True)
class Built:
    """A finished build. `engine` is what belongs into model.engine, None where the runtime runs the ONNX
    file itself; `kernels` is None where the runtime does not tell. `options`: what the rare options came to,
    for the report; `notices`: what a user should know of them."""

    runtime: str
    model: bytes
    engine: bytes | None
    seconds: float
    kernels: tuple[Kernel, ...] | None = None
    layers_parsed: int | None = None
    warnings: tuple[str, ...] = field(default=())
    options: Mapping[str, Any] = field(default_factory=dict)
    notices: tuple[str, ...] = ()

    @property
    def stripped(self) -> bool:
        """Whether the engine has no weights, and needs those of `model` before it runs."""
        return "STRIP_PLAN" in self.options.get("builder_flags", ())

    @property
    def host_code(self) -> bool:
        """Whether the engine brings code for the CPU (a lean runtime), which must be allowed to run."""
        return "VERSION_COMPATIBLE" in self.options.get("builder_flags", ())


class Session(Protocol):
    """A loaded model, ready to run. Close it (or use `with`) to give its memory back."""

    def run(self, images: Float[np.ndarray, "b ..."]) -> dict[str, np.ndarray]:
        """Images in the layout of the file -> outputs by name."""
        ...

    def latency(self, images: Float[np.ndarray, "b ..."]) -> Latency: ...

    def kernels(self) -> tuple[Kernel, ...] | None:
        """The layers as the loaded engine itself tells them; None where a runtime has no such list."""
        ...

    def close(self) -> None: ...


class Runtime(Protocol):
    """One way to deploy an ONNX file."""

    name: str
    builds_engine: bool

    @property
    def on_gpu(self) -> bool:
        """Whether what it deploys runs on a GPU."""
        ...

    @property
    def deploys(self) -> str:
        """What the gate calls that."""
        ...

    def versions(self) -> dict[str, str]: ...

    def why_not_build(self) -> str | None:
        """None if `build` can work on this machine, else the reason."""
        ...

    def why_not_run(self) -> str | None:
        """None if `open` can work on this machine, else the reason."""
        ...

    def refuses(self, options: BuilderOptions) -> str | None:
        """None if `build` does all that `options` ask on this machine, else the reason."""
        ...

    def build(self, model: bytes, options: BuildOptions) -> Built:
        """Raises `BuildError` with the parser's or builder's own words."""
        ...

    def open(self, built: Built, *, cuda_graph: bool = False) -> Session:
        """`cuda_graph`: measure latency by replaying a CUDA graph (engines only)."""
        ...


@dataclass(frozen=True)
class Choice:
    """The chosen runtime and, if it is not what one would hope for, a line that says why."""

    runtime: Runtime
    notice: str | None = None


def make(name: str, provider: str = "cpu") -> Runtime:
    """The runtime called `name`. Raises `MissingExtra` where its package is not installed.

    Args:
      provider: of ONNX Runtime, a key of `providers.PROVIDERS`.
    """
    if name == "onnxruntime":
        from export.runtimes.onnxruntime import OnnxRuntime

        return OnnxRuntime(provider)
    from export.runtimes.tensorrt import TensorRT

    return TensorRT(name, MODULE_OF[name])


def choose(
    name: str, *, installed: Callable[[str], bool] = available, create: Callable[[str], Runtime] = make
) -> Choice:
    """`auto`: TensorRT where it and a GPU are present, else TensorRT for RTX, else ONNX Runtime with a
    notice. Any other name: exactly that runtime, or `MissingExtra` / `BuildError`, never another one."""
    if name != "auto":
        runtime = create(name)
        reason = runtime.why_not_build()
        if reason is not None:
            raise BuildError(f"{name} cannot build an engine here: {reason}")
        return Choice(runtime)
    passed_over: list[str] = []
    for candidate in NAMES[:-1]:
        if not installed(MODULE_OF[candidate]):
            passed_over.append(f"{candidate} is not installed")
            continue
        runtime = create(candidate)
        reason = runtime.why_not_build()
        if reason is None:
            return Choice(runtime)
        passed_over.append(f"{candidate}: {reason}")
    line = f"pip install 'hvjax[{EXTRA_OF[MODULE_OF['tensorrt_rtx']]}]'"
    notice = (
        f"no engine will be built ({'; '.join(passed_over)}); ONNX Runtime is used. For an engine: {line}"
    )
    return Choice(create("onnxruntime"), notice)
