"""ONNX Runtime on a GPU: the execution provider that was asked for, or an error, never another one.

ONNX Runtime itself falls back: a provider that is not in the package is a warning, one whose libraries are
missing a line in the log, and the file then runs on the CPU
(https://github.com/microsoft/onnxruntime/issues/23372). So what it really uses is asked after loading.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from export._optional import require
from export.latency import MIN_GPU_RUNS, Latency, summarise, time_calls
from export.runtimes import BuildError
from export.runtimes.float8 import as_it_stands

if TYPE_CHECKING:
    from jaxtyping import Float

#: --provider -> the name in ONNX Runtime.
PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
#: Where each keeps its tensors, in ONNX Runtime's words.
_DEVICES = {"CPUExecutionProvider": "cpu"}
#: Runs before the first that counts: the first calls choose algorithms or build engines.
_WARM_UP_RUNS = 20
#: NVIDIA's libraries do not round to TF32 where this is 0; ONNX Runtime's TensorRT provider has no option of
#: its own for that.
_NO_TF32 = ("NVIDIA_TF32_OVERRIDE", "0")


def why_missing(provider: str, ort: Any) -> str | None:
    """None if the installed package has `provider`, a key of `PROVIDERS`, else what it has."""
    known = ort.get_available_providers()
    if PROVIDERS[provider] in known:
        return None
    return (
        f"the installed onnxruntime {ort.__version__} has {', '.join(known)}; "
        "pip uninstall onnxruntime, then pip install onnxruntime-gpu"
    )


class ProviderSession:
    """A model in ONNX Runtime with one of `PROVIDERS`.

    Args:
      tf32: let float32 products round to TF32.
      disabled: rewrites of ONNX Runtime that it shall not do.

    Raises:
      BuildError: the file does not load, or would run elsewhere than asked.
    """

    def __init__(
        self, model: bytes, provider: str, *, tf32: bool = False, disabled: Sequence[str] = ()
    ) -> None:
        self._ort: Any = require("onnxruntime")
        self.provider = PROVIDERS[provider]
        self._plain = not tf32
        options = self._ort.SessionOptions()
        options.log_severity_level = 3
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        wanted: list[Any] = [(self.provider, self._settings(tf32))]
        if provider == "tensorrt":  # what it cannot compute, CUDA can
            wanted.append((PROVIDERS["cuda"], {"use_tf32": "1" if tf32 else "0"}))
        try:
            as_it_stands(options, model, self._ort)
            with self._environment(), warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of its fallback, which is an error below
                self._session = self._ort.InferenceSession(
                    model, options, providers=wanted, disabled_optimizers=list(disabled), enable_fallback=0
                )
        except Exception as error:  # onnxruntime raises classes of its own that share no public base
            raise BuildError(
                f"ONNX Runtime does not load the file with {self.provider}: {_line(error)}"
            ) from error
        self._session.disable_fallback()
        used = self._session.get_providers()
        if not used or used[0] != self.provider:
            raise BuildError(
                f"ONNX Runtime does not use {self.provider} here but {', '.join(used)}: are its CUDA "
                "libraries installed, in the versions that it was built for?"
            )
        self.nodes = _assigned(self._session)
        if self.nodes is not None and not self.nodes.get(self.provider):
            raise BuildError(f"ONNX Runtime computes none of the nodes with {self.provider}")
        self.input = self._session.get_inputs()[0].name
        self.outputs = [output.name for output in self._session.get_outputs()]

    @property
    def where(self) -> str:
        """`GPU (ONNX Runtime, CUDAExecutionProvider; 3 of 140 nodes on the CPU)`"""
        place = "CPU" if self.provider == PROVIDERS["cpu"] else "GPU"
        on_cpu = (self.nodes or {}).get(PROVIDERS["cpu"], 0)
        if place == "CPU" or not on_cpu:
            return f"{place} (ONNX Runtime, {self.provider})"
        total = sum((self.nodes or {}).values())
        return f"{place} (ONNX Runtime, {self.provider}; {on_cpu} of {total} nodes on the CPU)"

    def run(self, images: Float[np.ndarray, "b ..."]) -> dict[str, np.ndarray]:
        with self._running():
            values = self._session.run(None, {self.input: images})
        return dict(zip(self.outputs, (np.asarray(value) for value in values), strict=True))

    def latency(self, images: Float[np.ndarray, "b ..."]) -> Latency:
        """Wall time of one call with input and outputs in the memory of the device: copies are left out."""
        call = self.bound(images)
        with self._running():
            samples = time_calls(call, warm_up=_WARM_UP_RUNS, runs=MIN_GPU_RUNS)
        return summarise(
            samples, batch=len(images), warm_up=_WARM_UP_RUNS, clock="perf_counter", where=self.where
        )

    def bound(self, images: Float[np.ndarray, "b ..."]) -> Callable[[], None]:
        """A function that computes the answer for `images`, once put into the memory of the device, leaves it
        there and waits for it."""
        device = _DEVICES.get(self.provider, "cuda")
        binding = self._session.io_binding()
        with self._running():
            value = self._ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(images), device, 0)
            binding.bind_ortvalue_input(self.input, value)
            for name in self.outputs:
                binding.bind_output(name, device)

        def call() -> None:
            self._session.run_with_iobinding(binding)
            binding.synchronize_outputs()

        return call

    def kernels(self) -> None:
        """ONNX Runtime has no list of kernels comparable with TensorRT's."""
        return None

    def close(self) -> None:
        del self._session

    def _settings(self, tf32: bool) -> dict[str, str]:
        return {"use_tf32": "1" if tf32 else "0"} if self.provider == PROVIDERS["cuda"] else {}

    @contextlib.contextmanager
    def _environment(self) -> Iterator[None]:
        """Engines of the TensorRT provider are built while it loads and while it runs."""
        name, value = _NO_TF32
        before = os.environ.get(name)
        if self._plain and self.provider == PROVIDERS["tensorrt"]:
            os.environ[name] = value
        try:
            yield
        finally:
            if before is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = before

    @contextlib.contextmanager
    def _running(self) -> Iterator[None]:
        try:
            with self._environment():
                yield
        except Exception as error:
            raise BuildError(
                f"ONNX Runtime does not run the file with {self.provider}: {_line(error)}"
            ) from error


def _assigned(session: Any) -> dict[str, int] | None:
    """Nodes by the provider that computes them; None for an ONNX Runtime that does not tell."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return None
    found: Counter[str] = Counter()
    for part in session.get_provider_graph_assignment_info():
        found[part.ep_name] += len(part.get_nodes())
    return dict(found) or None


def _line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
