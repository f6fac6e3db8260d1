"""Engines of TensorRT and of TensorRT for RTX, on the GPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from export.batch import BatchRange
from export.lab.files import Files
from export.lab.rounds import Sample
from export.lab.runtimes import images
from export.lab.runtimes.cpu import watched
from export.lab.runtimes.memory import Growth
from export.lab.setting import Setting
from export.lab.subject import Subject
from export.runtimes import BuildError, BuildOptions, Built, cuda, make
from export.runtimes.cuda import CudaError
from export.runtimes.engine import EngineSession
from export.runtimes.kernels import Kernel
from export.runtimes.tensorrt import TensorRT


class Engines:
    """Args:
      name: "tensorrt" or "tensorrt_rtx".
      runtime: that of the exporter; a test passes one with a fake TensorRT.

    TF32 is off: float32 means float32. Precision is in the file; networks are strongly typed.

    Raises:
      MissingExtra: it is not installed.
    """

    device = "gpu"

    def __init__(self, name: str, runtime: TensorRT | None = None) -> None:
        self.name = name
        self._runtime: Any = runtime or make(name)

    def why_not(self, setting: Setting) -> str | None:
        return self._runtime.why_not_run()

    def refuses(self, subject: Subject, setting: Setting) -> str | None:
        return None

    def prepare(self, subject: Subject, setting: Setting, files: Files) -> EngineReady:
        model = files.onnx(subject, setting.batch, setting.precision)
        batch = BatchRange(setting.batch, setting.batch, setting.batch)
        return EngineReady(self._runtime, self._runtime.build(model, BuildOptions(batch)), subject, setting)

    def versions(self) -> dict[str, str]:
        return self._runtime.versions()


class EngineReady:
    """Time is that between two CUDA events around one call on an idle stream. So without a CUDA graph it is
    also what the host needs to launch kernel after kernel, where the GPU waits for that: the latency of one
    request, not the throughput of many. Copies of images and results are outside of it, or inside with
    `Setting.transfers`, then from and to page-locked memory.

    Raises:
      BuildError: the engine does not load or run: the GPU's memory is too small, for example.
    """

    clock = "CUDA events"

    def __init__(self, runtime: TensorRT, built: Built, subject: Subject, setting: Setting) -> None:
        self._runtime, self._built, self._source = runtime, built, (subject, setting)
        self._session: EngineSession | None = None
        self._compiled: bytes | None = b""
        try:
            with self._errors():
                before = Growth(cuda.memory_in_use)
                self._open()
                memory = {"file": len(built.model), "engine": len(built.engine or b"")}
                memory |= before.entry("loaded") | self._opened.memory()
                self.sample()
                self.memory: Mapping[str, int] = memory | before.entry("running")
        except BuildError:
            self.close()
            raise

    @property
    def _opened(self) -> EngineSession:
        assert self._session is not None
        return self._session

    def sample(self, count: int = 1) -> list[Sample]:
        device = self._opened.device
        with self._errors():
            return watched(lambda: device.time(self._launch, warm_up=0, runs=1)[0], count)

    def layer_times(self, runs: int) -> list[list[tuple[str, float]]]:
        """As of `EngineSession`: from here on, samples are slower."""
        return self._opened.layer_times(images.nchw(*self._source), runs=runs)

    @property
    def model(self) -> bytes:
        """The ONNX file."""
        return self._built.model

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        return self._built.kernels or self._opened.kernels()

    def reopen(self) -> None:
        self.close()
        with self._errors():
            self._open()

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    def _open(self) -> None:
        subject, setting = self._source
        self._session = EngineSession(
            self._runtime.trt,
            self._built.engine or b"",
            cuda_graph=setting.cuda_graph,
            compiled=self._compiled,
        )
        self._launch = self._session.launcher(images.nchw(subject, setting), transfers=setting.transfers)
        self._compiled = self._compiled or self._session.compiled()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except CudaError as error:
            raise BuildError(f"{self._runtime.name}: {error}") from error
