"""Running a serialized engine on a GPU: name-based I/O, one stream, CUDA events, optionally a CUDA graph.

The calls used (`num_io_tensors`, `set_input_shape`, `set_tensor_address`, `execute_async_v3`) are those
that TensorRT 10.x, 11.x and TensorRT for RTX share.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from export.latency import MIN_GPU_RUNS, Latency, summarise
from export.runtimes import BuildError
from export.runtimes.capabilities import capabilities
from export.runtimes.cuda import CudaError, Device
from export.runtimes.kernels import Kernel, read_kernels
from export.runtimes.refit import refit
from export.runtimes.tensorrt import recording_logger

if TYPE_CHECKING:
    from jaxtyping import Float

#: Launches before the first that counts: the first calls of a portable engine compile its kernels.
GPU_WARM_UP_RUNS = 20


class EngineSession:
    """An engine on the GPU. Raises `BuildError` if the runtime refuses it.

    Args:
      weights: the ONNX file whose weights an engine without weights is given; None for a whole engine.
      host_code: let the engine run the code for the CPU that it brings (version-compatible engines do). It is
        a program: only for engines that were built here or are trusted.
      compiled: kernels that `compiled` gave, b"" for none yet, so that TensorRT for RTX need not compile them
        again when the engine is opened again; None to keep none. Others have compiled theirs already.
    """

    def __init__(
        self,
        trt: Any,
        engine: bytes,
        *,
        api: Any = None,
        cuda_graph: bool = False,
        weights: bytes | None = None,
        host_code: bool = False,
        compiled: bytes | None = None,
    ) -> None:
        self.trt = trt
        self.cuda_graph = cuda_graph
        self._log = recording_logger(trt)
        # The runtime must outlive its engines, and the engine its contexts: keep all three.
        self._runtime = trt.Runtime(self._log)
        if host_code:
            self._runtime.engine_host_code_allowed = True
        self._engine = self._runtime.deserialize_cuda_engine(engine)
        if self._engine is None:
            reasons = "; ".join(self._log.at(trt.ILogger.ERROR)) or "it gave no reason"
            raise BuildError(f"{trt.__name__} does not load the engine on this GPU: {reasons}")
        if weights is not None:
            refit(trt, self._engine, weights, self._log)
        self._kernel_cache: Any = None
        self._context = self._create_context(compiled)
        if self._context is None:
            raise BuildError(f"{trt.__name__} gives no execution context: not enough GPU memory?")
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        modes = {name: self._engine.get_tensor_mode(name) for name in names}
        inputs = [name for name in names if modes[name] == trt.TensorIOMode.INPUT]
        if len(inputs) != 1:
            raise BuildError(f"the engine has inputs {inputs}; one was expected")
        self.input = inputs[0]
        self.outputs = [name for name in names if modes[name] == trt.TensorIOMode.OUTPUT]
        self.device = Device(api)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the input; -1 for a batch of a range."""
        return tuple(int(size) for size in self._engine.get_tensor_shape(self.input))

    @property
    def input_dtype(self) -> np.dtype:
        return self._dtype(self.input)

    def run(self, images: Float[np.ndarray, "b ..."]) -> dict[str, np.ndarray]:
        """Images -> outputs by name; copies to and from the GPU included."""
        results = self._bind(images)
        self._launch()
        return {name: self.device.download(name, array) for name, array in results.items()}

    def latency(
        self, images: Float[np.ndarray, "b ..."], *, runs: int = MIN_GPU_RUNS, warm_up: int = GPU_WARM_UP_RUNS
    ) -> Latency:
        """Time on the GPU of one call, by CUDA events; copies to and from the GPU are left out."""
        samples = self.device.time(self.launcher(images), warm_up=warm_up, runs=runs)
        return summarise(
            samples,
            batch=len(images),
            warm_up=warm_up,
            clock="CUDA events",
            where=f"GPU ({self.trt.__name__})",
            cuda_graph=self.cuda_graph,
        )

    def launcher(self, images: Float[np.ndarray, "b ..."], *, transfers: bool = False) -> Callable[[], None]:
        """A function that puts one call for `images` on the stream of `device`, for `device.time`: kernel by
        kernel, or as one CUDA graph. Images are on the GPU already and results stay there; `transfers` puts
        the copies of both, from and to page-locked memory, on the stream too."""
        results = self._bind(images)
        launch = self._with_transfers(images, results) if transfers else self._launch
        launch()  # lazy work of a first call may not be captured in a graph
        self.device.synchronize()
        return self.device.capture(launch) if self.cuda_graph else launch

    def layer_times(self, images: Float[np.ndarray, "b ..."], *, runs: int) -> list[list[tuple[str, float]]]:
        """(layer, milliseconds) of each of `runs` calls, as TensorRT's own profiler reports them: kernel by
        kernel, each waited for, so that they take longer than without it. Not for a CUDA graph."""
        self._bind(images)
        heard: list[tuple[str, float]] = []
        self._context.profiler = _listener(self.trt, heard)
        found = []
        for _ in range(runs):
            heard.clear()
            self._launch()
            self.device.synchronize()
            found.append(list(heard))
        return found

    def memory(self) -> dict[str, int]:
        """Bytes on the GPU as the engine tells them: `activations` of one execution context, and `weights`
        where it can stream them (others do not say)."""
        engine = self._engine
        found = {}
        for name, attributes in {
            "activations": ("device_memory_size_v2", "device_memory_size"),
            "weights": ("streamable_weights_size",),
        }.items():
            value = next((getattr(engine, a) for a in attributes if hasattr(engine, a)), 0)
            if value:
                found[name] = int(value)
        return found

    def kernels(self) -> tuple[Kernel, ...]:
        """The engine's layers as its inspector tells them (for builders whose log did not list them)."""
        inspector = self._engine.create_engine_inspector()
        return read_kernels([inspector.get_engine_information(self.trt.LayerInformationFormat.ONELINE)])

    def close(self) -> None:
        self.device.close()
        del self._context, self._engine, self._runtime

    def compiled(self) -> bytes | None:
        """The kernels that were compiled until now, if they were to be kept; valid for this GPU, driver and
        version of TensorRT for RTX."""
        return None if self._kernel_cache is None else bytes(self._kernel_cache.serialize())

    def _create_context(self, compiled: bytes | None) -> Any:
        """With kernels for a shape compiled when it is first seen, not in the background: a latency would
        else be that of fallback kernels, or of both."""
        if not capabilities(self.trt).kernel_specialisation:
            return self._engine.create_execution_context()
        config = self._engine.create_runtime_config()
        eager = self.trt.DynamicShapesKernelSpecializationStrategy.EAGER
        config.dynamic_shapes_kernel_specialization_strategy = eager
        if compiled is not None and hasattr(config, "create_runtime_cache"):
            self._kernel_cache = config.create_runtime_cache()  # must outlive the context
            if compiled:
                self._kernel_cache.deserialize(compiled)  # if it is refused, kernels are compiled again
            config.set_runtime_cache(self._kernel_cache)
        return self._engine.create_execution_context(config)

    def _bind(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Sets shape and addresses for `images`; returns empty host arrays for the outputs."""
        images = np.ascontiguousarray(images, dtype=self._dtype(self.input))
        if not self._context.set_input_shape(self.input, images.shape):
            raise BuildError(f"the engine does not take images of shape {images.shape}")
        self._context.set_tensor_address(self.input, self.device.upload(self.input, images))
        results = {}
        for name in self.outputs:
            array = np.empty(tuple(self._context.get_tensor_shape(name)), self._dtype(name))
            self._context.set_tensor_address(name, self.device.buffer(name, array.nbytes))
            results[name] = array
        return results

    def _with_transfers(self, images: np.ndarray, results: dict[str, np.ndarray]) -> Callable[[], None]:
        came = self.device.pinned(np.ascontiguousarray(images, dtype=self._dtype(self.input)))
        left = {name: self.device.pinned(array) for name, array in results.items()}

        def launch() -> None:
            self.device.send(self.input, came)
            self._launch()
            for name, array in left.items():
                self.device.fetch(name, array)

        return launch

    def _launch(self) -> None:
        if not self._context.execute_async_v3(int(self.device.stream)):
            raise CudaError("execute_async_v3 failed: " + "; ".join(self._log.at(self.trt.ILogger.ERROR)))

    def _dtype(self, name: str) -> np.dtype:
        return np.dtype(self.trt.nptype(self._engine.get_tensor_dtype(name)))


def _listener(trt: Any, heard: list[tuple[str, float]]) -> Any:
    """A profiler of `trt` that writes down what it is told."""

    class Listener(trt.IProfiler):
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            heard.append((layer_name, ms))

    return Listener()
