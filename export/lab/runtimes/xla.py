"""The JAX function itself, compiled ahead of time for JAX's default device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext

import jax
import jax.numpy as jnp
import numpy as np

from export.graph import DTYPES
from export.lab.files import Files
from export.lab.rounds import Sample
from export.lab.runtimes import images, not_on_cpu
from export.lab.runtimes.cpu import timed
from export.lab.runtimes.memory import Growth, resident
from export.lab.setting import Setting
from export.lab.subject import Subject
from export.runtimes import BuildError


class Xla:
    name = "xla"

    def __init__(self) -> None:
        self.device = "cpu" if jax.default_backend() == "cpu" else "gpu"

    def why_not(self, setting: Setting) -> str | None:
        if setting.cuda_graph:
            return "XLA decides itself what it launches as CUDA graphs"
        if self.device != "cpu":
            return None
        if setting.precision != "fp32":
            return f"XLA's CPU back end has no fast {setting.precision}"
        if setting.threads is not None:
            return "XLA's CPU back end takes all threads of the process"
        return not_on_cpu(setting)

    def refuses(self, subject: Subject, setting: Setting) -> str | None:
        return None

    def prepare(self, subject: Subject, setting: Setting, files: Files) -> XlaReady:
        with _errors():
            return XlaReady(subject, setting, self.device)

    def versions(self) -> dict[str, str]:
        return {"jax": jax.__version__}


class XlaReady:
    """The function as a user of `jax.jit` has it: weights are arguments, not constants, so that they can be
    replaced, and hvjax writes its convolutions in the form that is fastest on this platform (on a CPU
    depthwise ones become sums of shifted products, for example). The exports have plain convolutions
    instead: what is compared is the deployed program, not one graph in two compilers.

    On a GPU float32 means float32 (no TF32). Images and weights are on the device already and answers stay
    there; with `Setting.transfers` images come from the host and answers go there. The clock is the
    machine's, around a call that waits for its answer: it includes what JAX needs to launch.

    Args:
      kernel_by_kernel: launch nothing as a CUDA graph, in which a profiler cannot tell the kernels' origin.
    """

    clock = "perf_counter"

    def __init__(
        self, subject: Subject, setting: Setting, device: str, *, kernel_by_kernel: bool = False
    ) -> None:
        pixels = images.nhwc(subject, setting)
        function = subject.function(setting.precision)
        exact = jax.default_matmul_precision("highest") if setting.precision == "fp32" else nullcontext()
        before = Growth(resident if device == "cpu" else lambda: _on_device("bytes_in_use"))
        peak = _on_device("peak_bytes_in_use")
        dtype = DTYPES[setting.precision]
        self._weights = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), subject.weights())
        with exact:
            lowered = jax.jit(function).lower(self._weights, jnp.asarray(pixels))
            options: dict[str, str | bool] = {"xla_gpu_enable_command_buffer": ""} if kernel_by_kernel else {}
            self._compiled = lowered.compile(compiler_options=options or None)
        self._pixels, self._transfers = pixels, setting.transfers
        self._bind(jnp.asarray(pixels))
        used = self._compiled.memory_analysis()
        memory = before.entry("loaded")
        if used is not None:
            memory["weights"] = used.argument_size_in_bytes - pixels.nbytes
            memory["activations"] = used.temp_size_in_bytes
            memory["code"] = used.generated_code_size_in_bytes
        self.sample()
        if device == "cpu":
            memory |= before.entry("running")
        elif (now := _on_device("peak_bytes_in_use")) is not None and now > (peak or 0):
            memory |= before.entry("running", now)  # an earlier network's higher peak hides that of this one
        self.memory: Mapping[str, int] = memory

    def sample(self, count: int = 1) -> list[Sample]:
        with _errors():
            return timed(self._call, count)

    def hlo(self) -> str:
        """Text of the compiled program, whose instructions a profile names."""
        return self._compiled.as_text() or ""

    def reopen(self) -> None:
        """New buffers; the code stays where it is."""
        with _errors():
            self._weights = jax.tree.map(jnp.copy, self._weights)
            self._bind(jnp.array(self._pixels))

    def close(self) -> None:
        del self._call, self._compiled, self._weights

    def _bind(self, resting: jax.Array) -> None:
        compiled, weights, pixels = self._compiled, self._weights, self._pixels
        self._call: Callable[[], object] = (
            (lambda: np.asarray(compiled(weights, jnp.asarray(pixels))))
            if self._transfers
            else (lambda: compiled(weights, resting).block_until_ready())
        )


def _on_device(what: str) -> int | None:
    """Bytes that arrays take on the GPU, now or at most until now; JAX's own reserve does not count."""
    told = jax.local_devices()[0].memory_stats()
    return None if told is None else int(told[what])


@contextmanager
def _errors() -> Iterator[None]:
    """Too little memory, for example."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        raise BuildError(f"XLA: {str(error).splitlines()[0]}") from error
