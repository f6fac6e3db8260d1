"""The ONNX file in ONNX Runtime's CUDA provider, every node of it on the GPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from export._optional import require
from export.lab.files import Files
from export.lab.rounds import Sample
from export.lab.runtimes import images
from export.lab.runtimes.cpu import timed
from export.lab.runtimes.memory import Growth
from export.lab.setting import Setting
from export.lab.subject import Subject
from export.runtimes import BuildError, Built, cuda
from export.runtimes.onnxruntime import OnnxRuntime, first_line
from export.runtimes.providers import PROVIDERS, ProviderSession


class OnnxRuntimeCuda:
    """TF32 is off: float32 means float32, as in the engines. Time is read from the machine's clock around a
    call that waits for its answer, since ONNX Runtime keeps its stream to itself."""

    name, device = "onnxruntime_cuda", "gpu"

    def __init__(self) -> None:
        self._ort: Any = require("onnxruntime")
        self._runtime = OnnxRuntime("cuda")

    def why_not(self, setting: Setting) -> str | None:
        if setting.cuda_graph:
            return "CUDA graphs are measured with engines and with torch_compile only"
        return self._runtime.why_not_build() or cuda.why_no_gpu()

    def refuses(self, subject: Subject, setting: Setting) -> str | None:
        return None

    def prepare(self, subject: Subject, setting: Setting, files: Files) -> ProviderReady:
        return self.load(files.onnx(subject, setting.batch, setting.precision), subject, setting)

    def load(self, model: bytes, subject: Subject, setting: Setting) -> ProviderReady:
        """Any ONNX file whose one input is the subject's images, (b, c, h, w) in float32."""
        return ProviderReady(model, subject, setting)

    def versions(self) -> dict[str, str]:
        return {"onnxruntime": str(self._ort.__version__)}


class ProviderReady:
    """Images are in the GPU's memory already and answers stay there; with `Setting.transfers` they come from
    ordinary memory and go there, as ONNX Runtime's plain `run` does it (its memory is not page-locked).

    Raises:
      BuildError: it does not load, or some node would be computed by the CPU.
    """

    clock = "perf_counter"

    def __init__(self, model: bytes, subject: Subject, setting: Setting) -> None:
        self._model, self._source = model, (subject, setting)
        try:
            before = Growth(cuda.memory_in_use)
            self._open()
            memory = {"file": len(model), **before.entry("loaded")}
            self.sample()
            self.memory: Mapping[str, int] = memory | before.entry("running")
        except cuda.CudaError as error:
            raise BuildError(str(error)) from error

    def sample(self, count: int = 1) -> list[Sample]:
        try:
            return timed(self._call, count)
        except BuildError:
            raise
        except Exception as error:  # onnxruntime raises classes of its own that share no public base
            raise BuildError(f"ONNX Runtime does not run the file: {first_line(error)}") from error

    def reopen(self) -> None:
        self.close()
        self._open()

    def close(self) -> None:
        del self._call
        self._session.close()

    def _open(self) -> None:
        subject, setting = self._source
        session = self._session = opened(self._model)
        pixels = images.nchw(subject, setting)
        self._call: Callable[[], object] = (
            (lambda: session.run(pixels)) if setting.transfers else session.bound(pixels)
        )


def opened(model: bytes) -> ProviderSession:
    """Raises BuildError if a node would be computed by the CPU: its time is not the GPU's, nor are the copies
    around it."""
    session: Any = OnnxRuntime("cuda").open(Built("onnxruntime", model, None, 0.0))
    on_cpu = (session.nodes or {}).get(PROVIDERS["cpu"], 0)
    if on_cpu:
        session.close()
        total = sum(session.nodes.values())
        raise BuildError(f"ONNX Runtime has no CUDA kernel for {on_cpu} of {total} nodes")
    return session
