"""The ONNX file in ONNX Runtime's CPU provider."""

from __future__ import annotations

from collections.abc import Mapping

from export._optional import require
from export.lab.files import Files
from export.lab.rounds import Sample
from export.lab.runtimes import images, not_on_cpu
from export.lab.runtimes.cpu import timed
from export.lab.runtimes.memory import Growth, resident
from export.lab.setting import Setting
from export.lab.subject import Subject
from export.runtimes.onnxruntime import OnnxSession

#: The threads of a session wait for more work by spinning, which takes processors from whoever has the next
#: turn. With this they stop once an answer is there; within a call they still spin, as a user's do.
CONFIG = {"session.force_spinning_stop": "1"}


class OnnxRuntimeCpu:
    name, device = "onnxruntime", "cpu"

    def __init__(self) -> None:
        self._version: str = require("onnxruntime").__version__

    def why_not(self, setting: Setting) -> str | None:
        if setting.precision != "fp32":
            return "ONNX Runtime's CPU provider computes in float32, whatever the file says"
        return not_on_cpu(setting)

    def refuses(self, subject: Subject, setting: Setting) -> str | None:
        return None

    def prepare(self, subject: Subject, setting: Setting, files: Files) -> OnnxReady:
        return self.load(files.onnx(subject, setting.batch, setting.precision), subject, setting)

    def load(self, model: bytes, subject: Subject, setting: Setting) -> OnnxReady:
        """Any ONNX file whose one input is the subject's images, (b, c, h, w) in float32."""
        return OnnxReady(model, subject, setting)

    def versions(self) -> dict[str, str]:
        return {"onnxruntime": self._version}


class OnnxReady:
    clock = "perf_counter"

    def __init__(self, model: bytes, subject: Subject, setting: Setting) -> None:
        self._model, self._threads, self._source = model, setting.threads, (subject, setting)
        before = Growth(resident)
        self._open()
        memory = {"file": len(model), **before.entry("loaded")}
        self.sample()
        self.memory: Mapping[str, int] = memory | before.entry("running")

    def sample(self, count: int = 1) -> list[Sample]:
        return timed(lambda: self._session.run(self._images), count)

    @property
    def model(self) -> bytes:
        """The ONNX file."""
        return self._model

    def reopen(self) -> None:
        self._session.close()
        self._open()

    def close(self) -> None:
        self._session.close()

    def _open(self) -> None:
        self._session = OnnxSession(self._model, self._threads, config=CONFIG)
        self._images = images.nchw(*self._source)
