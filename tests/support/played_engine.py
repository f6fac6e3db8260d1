"""An engine played by ONNX Runtime, for what needs a GPU otherwise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from export import runtimes
from export.latency import Latency, summarise
from export.runtimes import BuildError, Built, Choice
from export.runtimes.onnxruntime import OnnxSession


class Session(OnnxSession):
    """ONNX Runtime plays the engine."""

    def latency(self, images: np.ndarray) -> Latency:
        return summarise([2.0] * 9, batch=len(images), warm_up=1, clock="CUDA events", where="GPU (stand-in)")


class Runtime:
    """Says it built and can run; `model` is what its engine really computes."""

    name, builds_engine, deploys = "tensorrt", True, "model.engine"

    def __init__(self, model: bytes | None) -> None:
        self.model = model

    def why_not_build(self) -> str | None:
        return None

    def why_not_run(self) -> str | None:
        return None

    def versions(self) -> dict[str, str]:
        return {"tensorrt": "10.3"}

    def build(self, model: bytes, options: Any) -> Built:
        return Built("tensorrt", model, b"engine", 1.0, ())

    def open(self, built: Built, *, cuda_graph: bool = False) -> Session:
        if self.model is None:
            raise BuildError("built for another GPU")
        return Session(self.model)


def play(monkeypatch: pytest.MonkeyPatch, model: bytes | None) -> None:
    monkeypatch.setattr(runtimes, "choose", lambda name: Choice(Runtime(model)))
