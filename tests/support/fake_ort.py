"""A stand-in for onnxruntime with a GPU."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import onnxruntime

from export.runtimes.providers import PROVIDERS

CUDA, CPU = PROVIDERS["cuda"], PROVIDERS["cpu"]


class FakeOrt:
    """onnxruntime with CUDA and TensorRT, whose sessions compute with the real one.

    `falls_back`: the libraries of CUDA are missing, and it says nothing. `on_cpu`: nodes that the provider
    leaves to the CPU. `environment`: NVIDIA_TF32_OVERRIDE when a session was made, and at each run.
    """

    __version__ = "1.99"
    SessionOptions = onnxruntime.SessionOptions

    class OrtValue:
        @staticmethod
        def ortvalue_from_numpy(array: np.ndarray, device: str, number: int) -> Any:
            assert (device, number) == ("cuda", 0) and array.flags["C_CONTIGUOUS"]
            return onnxruntime.OrtValue.ortvalue_from_numpy(array, "cpu", 0)

    def __init__(self, falls_back: bool = False, on_cpu: int = 0) -> None:
        self.falls_back, self.on_cpu = falls_back, on_cpu
        self.asked: list[Any] = []
        self.environment: list[str | None] = []
        self.runs = 0  # of `run`, which copies its inputs and outputs

    def get_available_providers(self) -> list[str]:
        return [PROVIDERS["tensorrt"], CUDA, CPU]

    def InferenceSession(
        self, model: bytes, options: Any, *, providers: Any, enable_fallback: int, **rest: Any
    ) -> Any:
        assert enable_fallback == 0
        self.asked.append(providers)
        self.environment.append(os.environ.get("NVIDIA_TF32_OVERRIDE"))
        fake = self

        class Session(onnxruntime.InferenceSession):
            def get_providers(self) -> list[str]:
                return [CPU] if fake.falls_back else [*(name for name, _ in providers), CPU]

            def get_provider_graph_assignment_info(self) -> Any:
                nodes = [n for part in super().get_provider_graph_assignment_info() for n in part.get_nodes()]
                part = type("Part", (), {"get_nodes": lambda self: self.nodes})
                first, second = part(), part()
                first.ep_name, first.nodes = providers[0][0], nodes[fake.on_cpu :]
                second.ep_name, second.nodes = CPU, nodes[: fake.on_cpu]
                return [first, second]

            def run(self, *arguments: Any) -> Any:
                fake.runs += 1
                fake.environment.append(os.environ.get("NVIDIA_TF32_OVERRIDE"))
                return super().run(*arguments)

            def io_binding(self) -> Any:
                binding = super().io_binding()
                real = binding.bind_output
                binding.bind_output = lambda name, device: real(name, {"cuda": "cpu"}[device])
                return binding

        return Session(model, options, providers=["CPUExecutionProvider"], **rest)
