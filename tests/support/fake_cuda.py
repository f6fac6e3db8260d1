"""Stand-ins for a GPU: a CUDA whose memory is the host's, an engine that computes a mean."""

from __future__ import annotations

import ctypes
import types
from typing import Any

import numpy as np


class FakeCuda:
    """`cuda.bindings.runtime` with host memory as device memory and a clock of one ms per launch."""

    cudaMemcpyKind = types.SimpleNamespace(cudaMemcpyHostToDevice="up", cudaMemcpyDeviceToHost="down")
    cudaStreamCaptureMode = types.SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)

    def __init__(self, fail: str = "") -> None:
        self.fail, self.calls, self.alive = fail, [], set()
        self.memory: dict[int, Any] = {}
        self.pinned: dict[int, Any] = {}
        self.size = 1 << 30  # bytes of the GPU's memory
        self.now, self.capturing, self.recorded = 0.0, False, 0

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("cuda"):
            raise AttributeError(name)
        return lambda *arguments: self._call(name, *arguments)

    def _call(self, name: str, *arguments: Any) -> tuple[Any, ...]:
        self.calls.append(name)
        if name == "cudaGetErrorString":
            return 0, b"out of memory"
        if name == self.fail:
            return (2, None)
        return (0, *getattr(self, f"_{name}", lambda *_: ())(*arguments))

    def _make(self, kind: str) -> tuple[str]:
        handle = f"{kind} {len(self.calls)}"
        self.alive.add(handle)
        return (handle,)

    def _cudaGetDeviceCount(self) -> tuple[int]:
        return (1,)

    def _cudaDriverGetVersion(self) -> tuple[int]:
        return (13000,)

    def _cudaStreamCreate(self) -> tuple[int]:
        self.alive.add(77)
        return (77,)

    def _cudaStreamDestroy(self, stream: int) -> tuple[()]:
        self.alive.remove(stream)
        return ()

    def _cudaMalloc(self, size: int) -> tuple[int]:
        buffer = ctypes.create_string_buffer(size)
        address = ctypes.addressof(buffer)
        self.memory[address] = buffer
        self.alive.add(address)
        return (address,)

    def _cudaFree(self, address: int) -> tuple[()]:
        self.alive.remove(address)
        return ()

    def _cudaMallocHost(self, size: int) -> tuple[int]:
        buffer = ctypes.create_string_buffer(size)
        address = ctypes.addressof(buffer)
        self.pinned[address] = buffer
        self.alive.add(address)
        return (address,)

    def _cudaFreeHost(self, address: int) -> tuple[()]:
        assert address in self.pinned
        self.alive.remove(address)
        return ()

    def _cudaMemGetInfo(self) -> tuple[int, int]:
        return self.size - sum(len(b) for a, b in self.memory.items() if a in self.alive), self.size

    def _cudaMemcpyAsync(self, to: int, source: int, size: int, kind: str, stream: int) -> tuple[()]:
        device = to if kind == "up" else source
        assert device in self.alive and size <= len(self.memory[device]) and stream == 77
        ctypes.memmove(to, source, size)
        return ()

    def _cudaEventCreate(self) -> tuple[Any]:
        return ({"at": None, "key": self._make("event")[0]},)

    def _cudaEventRecord(self, event: dict[str, Any], stream: int) -> tuple[()]:
        event["at"] = self.now
        return ()

    def _cudaEventElapsedTime(self, start: dict[str, Any], end: dict[str, Any]) -> tuple[float]:
        return (end["at"] - start["at"],)

    def _cudaEventDestroy(self, event: dict[str, Any]) -> tuple[()]:
        self.alive.remove(event["key"])
        return ()

    def _cudaStreamBeginCapture(self, stream: int, mode: int) -> tuple[()]:
        self.capturing = True
        return ()

    def _cudaStreamEndCapture(self, stream: int) -> tuple[str]:
        self.capturing = False
        return self._make("graph")

    def _cudaGraphInstantiate(self, graph: str, flags: int) -> tuple[str]:
        return self._make("executable")

    def _cudaGraphDestroy(self, graph: str) -> tuple[()]:
        self.alive.remove(graph)
        return ()

    def _cudaGraphLaunch(self, executable: str, stream: int) -> tuple[()]:
        assert executable in self.alive
        self.now += 0.5
        return ()

    def _cudaGraphExecDestroy(self, executable: str) -> tuple[()]:
        self.alive.remove(executable)
        return ()


class FakeEngine:
    """An engine with float16 images in and the mean of each image out, float32."""

    num_io_tensors = 2

    def __init__(self, trt: Any, api: FakeCuda, largest: int) -> None:
        self.trt, self.api, self.largest = trt, api, largest
        self.shape: tuple[int, ...] = ()
        self.addresses: dict[str, int] = {}

    def get_tensor_name(self, index: int) -> str:
        return ("images", "logits")[index]

    def get_tensor_mode(self, name: str) -> Any:
        modes = self.trt.TensorIOMode
        return modes.INPUT if name == "images" else modes.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        return np.float16 if name == "images" else np.float32

    def create_runtime_config(self) -> Any:
        return types.SimpleNamespace()

    def create_execution_context(self, config: Any = None) -> FakeEngine:
        self.config = config
        return self

    def create_engine_inspector(self) -> Any:
        line = "Name: mean, LayerType: kgen, Inputs: [], Outputs: [ { Name: y, Datatype: Float }]"
        return types.SimpleNamespace(get_engine_information=lambda form: line)

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shape = tuple(shape)
        return shape[0] <= self.largest

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (self.shape[0], 1)

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == 77
        if self.api.capturing:
            self.api.recorded += 1
            return True
        count = int(np.prod(self.shape))
        images = np.frombuffer(self.api.memory[self.addresses["images"]], np.float16, count)
        means = images.reshape(self.shape[0], -1).astype(np.float32).mean(1)
        ctypes.memmove(self.addresses["logits"], means.ctypes.data, means.nbytes)
        self.api.now += 1.0
        return True
