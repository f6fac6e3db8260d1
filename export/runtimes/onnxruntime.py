"""ONNX Runtime on the CPU: runs the very bytes of model.onnx; the reference runtime of the parity gate."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from export._optional import available, require
from export.latency import WARM_UP_RUNS, Latency, summarise, time_calls
from export.runtimes import BuildError, BuildOptions, Built
from export.runtimes.builder import BuilderOptions
from export.runtimes.float8 import as_it_stands
from export.runtimes.providers import PROVIDERS, ProviderSession, why_missing

if TYPE_CHECKING:
    from jaxtyping import Float

#: ONNX Runtime's log level "error": its warnings speak of optimisations it did not do.
_ERRORS_ONLY = 3
#: Rewrites of ONNX Runtime that change what a file means. This one rounds the biases of int8 layers to steps
#: of (scale of the input x scale of the weights); with float16 scales the number of steps passes through
#: float16, so that every bias is clipped at 65504 steps without a message (seen in 1.31: top-1 of Next-ViT-S
#: trained on digits falls from 100 to 77 %).
_WRONG_OPTIMISERS = ("WeightBiasQuantization",)
#: This one ends the process in float16 files: it makes a Cast that a later rewrite reads too early, where the
#: batch is moved by a Transpose before a product (https://github.com/microsoft/onnxruntime/issues/28392, seen
#: in 1.31 with perm (1, 0, 2)). Files in float32 keep it: there it is right, and products are faster.
_CRASHES_ON_FLOAT16 = ("MatmulTransposeFusion",)


def cpu_threads() -> int:
    """CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class OnnxSession:
    """A model in ONNX Runtime's CPU provider, with as many threads as there are CPUs unless told.

    Args:
      config: entries of the session's configuration, by ONNX Runtime's own names.
      adjust: is given the session's options before it is made, to turn its profiler on for example.
    """

    def __init__(
        self,
        model: bytes,
        threads: int | None = None,
        *,
        config: Mapping[str, str] | None = None,
        adjust: Callable[[Any], None] | None = None,
    ) -> None:
        ort = require("onnxruntime")
        self.threads = threads or cpu_threads()
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = _ERRORS_ONLY
        for name, value in (config or {}).items():
            options.add_session_config_entry(name, value)
        if adjust is not None:
            adjust(options)
        disabled = [*_WRONG_OPTIMISERS, *(_CRASHES_ON_FLOAT16 if _has_float16(model) else ())]
        try:
            as_it_stands(options, model, ort)
            self._session = ort.InferenceSession(
                model,
                options,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=disabled,
            )
        except Exception as error:  # onnxruntime raises classes of its own that share no public base
            raise BuildError(f"ONNX Runtime does not load the file: {first_line(error)}") from error
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            raise BuildError(f"the file has {len(inputs)} inputs; one, of images, was expected")
        self.input = inputs[0].name
        self.outputs = [output.name for output in self._session.get_outputs()]

    def run(self, images: Float[np.ndarray, "b ..."]) -> dict[str, np.ndarray]:
        try:
            values = self._session.run(None, {self.input: images})
        except Exception as error:
            raise BuildError(f"ONNX Runtime does not run the file: {first_line(error)}") from error
        return dict(zip(self.outputs, (np.asarray(value) for value in values), strict=True))

    def latency(self, images: Float[np.ndarray, "b ..."]) -> Latency:
        samples = time_calls(lambda: self.run(images))
        return summarise(
            samples,
            batch=len(images),
            warm_up=WARM_UP_RUNS,
            clock="perf_counter",
            where="CPU (ONNX Runtime)",
            threads=self.threads,
        )

    def kernels(self) -> None:
        """ONNX Runtime has no list of kernels comparable with TensorRT's."""
        return None

    def end_profiling(self) -> str:
        """Path of the profiler's file, where `adjust` turned the profiler on."""
        return self._session.end_profiling()

    def close(self) -> None:
        del self._session


class OnnxRuntime:
    """Builds nothing: the ONNX file is what runs. `provider`: where, a key of `PROVIDERS`."""

    name = "onnxruntime"
    builds_engine = False

    def __init__(self, provider: str = "cpu") -> None:
        self._ort = require("onnxruntime")
        self.provider = provider

    def versions(self) -> dict[str, str]:
        return {"onnxruntime": self._ort.__version__}

    @property
    def on_gpu(self) -> bool:
        """Whether the file is gated and timed where it is deployed, as an engine is."""
        return self.provider != "cpu"

    @property
    def deploys(self) -> str:
        return f"model.onnx on {PROVIDERS[self.provider]}"

    def why_not_build(self) -> str | None:
        return why_missing(self.provider, self._ort) if self.on_gpu else None

    def why_not_run(self) -> str | None:
        return None

    def refuses(self, options: BuilderOptions) -> str | None:
        given = options.flags()
        return f"{given[0]} is about an engine, and onnxruntime builds none" if given else None

    def build(self, model: bytes, options: BuildOptions) -> Built:
        start = time.perf_counter()
        told = {"provider": self.provider, "tf32": options.tf32}
        built = Built(self.name, model, None, 0.0, options=told)
        self.open(built).close()
        return dataclasses.replace(built, seconds=time.perf_counter() - start)

    def open(self, built: Built, *, cuda_graph: bool = False) -> OnnxSession | ProviderSession:
        if cuda_graph:
            raise BuildError("ONNX Runtime replays no CUDA graph here: there is none to measure with")
        if not self.on_gpu:
            return OnnxSession(built.model)
        tf32 = bool(built.options.get("tf32"))
        return ProviderSession(built.model, self.provider, tf32=tf32, disabled=_WRONG_OPTIMISERS)


def _has_float16(model: bytes) -> bool:
    if not available("onnx"):
        return False
    onnx = require("onnx")
    try:
        graph = onnx.load_model_from_string(model).graph
    except Exception:  # ONNX Runtime says better what is wrong with it
        return False
    half = onnx.TensorProto.FLOAT16
    return (
        any(tensor.data_type == half for tensor in graph.initializer)
        or any(value.type.tensor_type.elem_type == half for value in graph.input)
        or any(a.name == "to" and a.i == half for node in graph.node for a in node.attribute)
    )


def first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
