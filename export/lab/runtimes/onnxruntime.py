"""The ONNX file in ONNX Runtime's CPU provider."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from export._optional import require
from export.lab.files import Files
from export.lab.rounds import Sample
from export.lab.runtimes.cpu import timed
from export.lab.setting import Setting
from export.lab.subject import Subject
from export.runtimes.onnxruntime import OnnxSession


class OnnxRuntimeCpu:
    name, device = "onnxruntime", "cpu"

    def __init__(self) -> None:
        self._version: str = require("onnxruntime").__version__

    def why_not(self, setting: Setting) -> str | None:
        if setting.precision != "fp32":
            return "ONNX Runtime's CPU provider computes in float32, whatever the file says"
        return None

    def refuses(self, subject: Subject, setting: Setting) -> str | None:
        return None

    def prepare(self, subject: Subject, setting: Setting, files: Files) -> OnnxReady:
        return OnnxReady(files.onnx(subject, setting.batch, setting.precision), subject, setting)

    def versions(self) -> dict[str, str]:
        return {"onnxruntime": self._version}


class OnnxReady:
    clock = "perf_counter"

    def __init__(self, model: bytes, subject: Subject, setting: Setting) -> None:
        self._session = OnnxSession(model, setting.threads)
        height, width, channels = subject.shape
        self._images = np.random.default_rng(0).standard_normal(
            (setting.batch, channels, height, width), np.float32
        )
        self.memory: Mapping[str, int] = {"file": len(model)}

    def sample(self, count: int = 1) -> list[Sample]:
        return timed(lambda: self._session.run(self._images), count)

    def close(self) -> None:
        self._session.close()
