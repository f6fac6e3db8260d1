"""The few CUDA calls that running an engine needs, through NVIDIA's own `cuda.bindings.runtime`.

Every call of that module returns a tuple whose first entry is an error code; `_call` turns a bad one into
`CudaError`. `api` is a parameter everywhere so that tests can pass a fake.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from export._optional import available, require


class CudaError(RuntimeError):
    """A CUDA call failed; the message names the call and CUDA's own words."""


def runtime_api() -> Any:
    """`cuda.bindings.runtime`, or `MissingExtra`."""
    require("cuda.bindings")
    return require("cuda.bindings.runtime")


def why_no_gpu(api: Any = None) -> str | None:
    """None if a CUDA GPU can be used, else the reason in words."""
    if api is None:
        if not available("cuda.bindings"):
            return "the package cuda-bindings is not installed"
        api = runtime_api()
    status, count = api.cudaGetDeviceCount()
    if int(status) != 0:
        _, driver = api.cudaDriverGetVersion()
        if not driver:
            return "no NVIDIA driver on this machine"
        return f"no usable NVIDIA GPU: {_words(api, status)}"
    return None if count else "no NVIDIA GPU"


def memory_in_use(api: Any = None) -> int:
    """Bytes of the current GPU's memory that are taken, by this process and by all others."""
    free, total = _checked(runtime_api() if api is None else api, "cudaMemGetInfo")
    return int(total) - int(free)


class Device:
    """Memory, one stream and timing on the current GPU; everything is freed by `close`."""

    def __init__(self, api: Any = None) -> None:
        self.api = runtime_api() if api is None else api
        self._buffers: dict[str, tuple[Any, int]] = {}
        self._graphs: list[Any] = []
        self._pinned: list[Any] = []
        self.stream: Any = self._call("cudaStreamCreate")

    def buffer(self, name: str, size: int) -> int:
        """Address of a device buffer called `name` of at least `size` bytes; grows when it must."""
        address, have = self._buffers.get(name, (None, 0))
        if have < size or address is None:
            if address is not None:
                self._call("cudaFree", address)
                del self._buffers[name]
            address = self._call("cudaMalloc", size)
            self._buffers[name] = (address, size)
        return int(address)

    def upload(self, name: str, array: np.ndarray) -> int:
        """Copies `array` into buffer `name` on the stream; returns its address."""
        array = np.ascontiguousarray(array)
        address = self.buffer(name, array.nbytes)
        kind = self.api.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", address, array.ctypes.data, array.nbytes, kind, self.stream)
        self.synchronize()  # `array` may be a temporary: it must outlive the copy
        return address

    def download(self, name: str, array: np.ndarray) -> np.ndarray:
        """Fills `array` (contiguous) from buffer `name`."""
        kind = self.api.cudaMemcpyKind.cudaMemcpyDeviceToHost
        address, _ = self._buffers[name]
        self._call("cudaMemcpyAsync", array.ctypes.data, address, array.nbytes, kind, self.stream)
        self.synchronize()
        return array

    def pinned(self, array: np.ndarray) -> np.ndarray:
        """A copy of `array` in page-locked host memory, which copies to and from the GPU are fastest with. It
        may not be used after `close`."""
        address = self._call("cudaMallocHost", array.nbytes)
        self._pinned.append(address)
        held: Any = (ctypes.c_byte * array.nbytes).from_address(int(address))
        copy = np.frombuffer(held, array.dtype).reshape(array.shape)
        copy[...] = array
        return copy

    def send(self, name: str, array: np.ndarray) -> None:
        """Puts a copy of `array`, which must be page-locked, into buffer `name` on the stream; does not
        wait."""
        kind = self.api.cudaMemcpyKind.cudaMemcpyHostToDevice
        address, _ = self._buffers[name]
        self._call("cudaMemcpyAsync", address, array.ctypes.data, array.nbytes, kind, self.stream)

    def fetch(self, name: str, array: np.ndarray) -> None:
        """Puts a copy from buffer `name` to `array`, which must be page-locked, on the stream; does not
        wait."""
        kind = self.api.cudaMemcpyKind.cudaMemcpyDeviceToHost
        address, _ = self._buffers[name]
        self._call("cudaMemcpyAsync", array.ctypes.data, address, array.nbytes, kind, self.stream)

    def synchronize(self) -> None:
        self._call("cudaStreamSynchronize", self.stream)

    def time(self, launch: Callable[[], None], *, warm_up: int, runs: int) -> list[float]:
        """Milliseconds of each of `runs` launches, by CUDA events on the stream, after `warm_up` others.
        Copies between host and device are not in `launch` and not in the time."""
        for _ in range(warm_up):
            launch()
        self.synchronize()
        events = [(self._call("cudaEventCreate"), self._call("cudaEventCreate")) for _ in range(runs)]
        try:
            for before, after in events:
                self._call("cudaEventRecord", before, self.stream)
                launch()
                self._call("cudaEventRecord", after, self.stream)
            self.synchronize()
            return [float(self._call("cudaEventElapsedTime", *pair)) for pair in events]
        finally:
            for event in (event for pair in events for event in pair):
                self._call("cudaEventDestroy", event)

    def capture(self, launch: Callable[[], None]) -> Callable[[], None]:
        """Records what `launch` puts on the stream as a CUDA graph; returns a function that replays it."""
        mode = self.api.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", self.stream, mode)
        try:
            launch()
        finally:
            graph = self._call("cudaStreamEndCapture", self.stream)
        try:
            executable = self._call("cudaGraphInstantiate", graph, 0)
        finally:
            self._call("cudaGraphDestroy", graph)
        self._graphs.append(executable)
        return lambda: self._call("cudaGraphLaunch", executable, self.stream)

    def close(self) -> None:
        for executable in self._graphs:
            self._call("cudaGraphExecDestroy", executable)
        for address, _ in self._buffers.values():
            self._call("cudaFree", address)
        for address in self._pinned:
            self._call("cudaFreeHost", address)
        if self.stream is not None:
            self._call("cudaStreamDestroy", self.stream)
        self._graphs, self._buffers, self._pinned, self.stream = [], {}, [], None

    def _call(self, name: str, *arguments: Any) -> Any:
        values = _checked(self.api, name, *arguments)
        return values[0] if values else None


@contextmanager
def device(api: Any = None) -> Iterator[Device]:
    opened = Device(api)
    try:
        yield opened
    finally:
        opened.close()


def _checked(api: Any, name: str, *arguments: Any) -> list[Any]:
    status, *values = getattr(api, name)(*arguments)
    if int(status) != 0:
        raise CudaError(f"{name}: {_words(api, status)}")
    return values


def _words(api: Any, status: Any) -> str:
    code, text = api.cudaGetErrorString(status)
    if int(code) != 0:
        return str(status)
    return text.decode() if isinstance(text, bytes) else str(text)
