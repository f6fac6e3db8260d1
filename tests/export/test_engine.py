"""Running an engine, with stand-ins: a CUDA whose memory is the host's, a TensorRT that computes a mean.

What is tested is our side of both interfaces: which calls, in which order, with which addresses, and that
everything is given back. A test at the end runs the real thing where there is a GPU.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fake_cuda import FakeCuda, FakeEngine

from export import runtimes
from export._optional import available
from export.batch import BatchRange
from export.runtimes import BuildError, BuildOptions, cuda
from export.runtimes.cuda import CudaError, Device
from export.runtimes.engine import EngineSession
from export.runtimes.tensorrt import TensorRT


@pytest.fixture
def running(fake_trt: Any) -> Any:
    """(FakeTensorRT, FakeCuda, open): `open(cuda_graph=...)` gives an `EngineSession`."""
    trt, api = fake_trt("rtx"), FakeCuda()

    class Runtime:
        def __init__(self, log: Any) -> None:
            self.log = log

        def deserialize_cuda_engine(self, data: bytes) -> Any:
            if data == b"bad":
                self.log.log(trt.module.ILogger.ERROR, "built for another GPU")
                return None
            return FakeEngine(trt.module, api, largest=4)

    trt.module.Runtime = Runtime

    def start(engine: bytes = b"good", **options: Any) -> EngineSession:
        return EngineSession(trt.module, engine, api=api, **options)

    return trt, api, start


def images(batch: int) -> np.ndarray:
    return np.arange(batch * 12, dtype=np.float32).reshape(batch, 3, 2, 2)


def test_an_engine_answers_at_every_batch_and_gives_all_back(running: Any) -> None:
    _, api, start = running
    session = start()
    for batch in (4, 1, 3, 4):  # buffers grow, and are reused when smaller
        answer = session.run(images(batch))
        assert np.array_equal(answer["logits"][:, 0], images(batch).reshape(batch, -1).mean(1))
    assert api.calls.count("cudaMalloc") == 2
    session.close()
    assert api.alive == set()


def test_images_are_cast_to_the_type_of_the_engine(running: Any) -> None:
    _, _, start = running
    session = start()
    tall = np.full((1, 3, 2, 2), 1 / 3)
    assert session.run(tall)["logits"][0, 0] == np.float32(np.float16(1 / 3))


def test_kernels_are_compiled_before_they_are_timed(running: Any) -> None:
    """TensorRT for RTX would else specialise them in the background, during the measurement."""
    trt, _, start = running
    eager = trt.module.DynamicShapesKernelSpecializationStrategy.EAGER
    assert start()._engine.config.dynamic_shapes_kernel_specialization_strategy == eager
    del trt.module.DynamicShapesKernelSpecializationStrategy  # any other TensorRT
    assert start()._engine.config is None


def test_a_batch_beyond_the_profile_is_refused(running: Any) -> None:
    _, _, start = running
    with pytest.raises(BuildError, match=r"does not take images of shape \(5, 3, 2, 2\)"):
        start().run(images(5))


def test_an_engine_that_does_not_load_quotes_the_runtime(running: Any) -> None:
    with pytest.raises(BuildError, match="does not load the engine on this GPU: built for another GPU"):
        running[2](b"bad")


def test_latency_by_events(running: Any) -> None:
    _, api, start = running
    session = start()
    found = session.latency(images(2), runs=100, warm_up=3)
    assert (found.median_ms, found.p99_ms, found.runs, found.batch) == (1.0, 1.0, 100, 2)
    assert found.clock == "CUDA events" and not found.cuda_graph
    assert api.calls.count("cudaEventCreate") == api.calls.count("cudaEventDestroy") == 200
    session.close()
    assert api.alive == set()


def test_latency_with_a_cuda_graph(running: Any) -> None:
    _, api, start = running
    session = start(cuda_graph=True)
    found = session.latency(images(2), runs=10, warm_up=3)
    assert found.median_ms == 0.5 and found.cuda_graph
    assert api.recorded == 1, "one launch is recorded, and replayed from then on"
    assert api.calls.count("cudaGraphLaunch") == 13
    session.close()
    assert api.alive == set()


def test_the_engine_can_tell_its_own_layers(running: Any) -> None:
    kernels = running[2]().kernels()
    assert [kernel.name for kernel in kernels] == ["mean"]


def test_a_failing_call_is_named() -> None:
    with pytest.raises(CudaError, match="cudaMalloc: out of memory"):
        Device(FakeCuda(fail="cudaMalloc")).buffer("x", 8)


def test_why_no_gpu() -> None:
    assert cuda.why_no_gpu(FakeCuda()) is None
    assert cuda.why_no_gpu(FakeCuda(fail="cudaGetDeviceCount")) == "no usable NVIDIA GPU: out of memory"
    without = FakeCuda(fail="cudaGetDeviceCount")
    without._cudaDriverGetVersion = lambda: (0,)  # type: ignore[method-assign]
    assert cuda.why_no_gpu(without) == "no NVIDIA driver on this machine"


def test_opening_goes_through_the_runtime(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    trt, api, _ = running
    monkeypatch.setattr(cuda, "runtime_api", lambda: api)
    runtime = TensorRT("tensorrt_rtx", trt.module)
    built = runtime.build(b"model", BuildOptions(BatchRange(4, 4, 4)))
    session = runtime.open(built, cuda_graph=True)
    assert session.cuda_graph and session.outputs == ["logits"]


@pytest.mark.skipif(
    not available("cuda.bindings"), reason="cuda-bindings is not installed: hvjax[tensorrt-rtx]"
)
def test_every_call_exists_in_the_real_bindings() -> None:
    """The fake answers to any name; NVIDIA's module must have each that we use."""
    used = {name for name in dir(FakeCuda) if name.startswith("_cuda")}
    real = cuda.runtime_api()
    missing = [name[1:] for name in used if not hasattr(real, name[1:])]
    assert missing == []
    for name in ("cudaGetErrorString", "cudaStreamSynchronize"):
        assert hasattr(real, name)
    assert real.cudaMemcpyKind.cudaMemcpyHostToDevice and real.cudaMemcpyKind.cudaMemcpyDeviceToHost
    assert int(real.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal) == 1


@pytest.mark.skipif(
    not available("tensorrt_rtx_bindings"), reason="TensorRT for RTX is not installed: hvjax[tensorrt-rtx]"
)
def test_every_call_exists_in_the_real_tensorrt() -> None:
    trt = runtimes.make("tensorrt_rtx").trt
    for owner, names in {
        trt.ICudaEngine: ("num_io_tensors", "get_tensor_name", "get_tensor_mode", "get_tensor_dtype",
                          "create_execution_context", "create_engine_inspector",
                          "create_runtime_config", "device_memory_size_v2", "streamable_weights_size"),
        trt.IRuntimeConfig: ("dynamic_shapes_kernel_specialization_strategy",
                             "create_runtime_cache", "set_runtime_cache"),
        trt.IRuntimeCache: ("serialize", "deserialize"),
        trt.IExecutionContext: ("set_input_shape", "get_tensor_shape", "set_tensor_address",
                                "execute_async_v3"),
        trt.EngineInspector: ("get_engine_information",),
        trt.Runtime: ("deserialize_cuda_engine",),
    }.items():  # fmt: skip
        assert all(hasattr(owner, name) for name in names)
    assert trt.nptype(trt.DataType.HALF) is np.float16


@pytest.mark.gpu
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("cuda_graph", [False, True])
def test_a_real_engine_on_a_real_gpu(tiny_net: Any, half: bool, cuda_graph: bool) -> None:
    runtime = runtimes.make("tensorrt_rtx")
    built = runtime.build(tiny_net.make("batch", half=half), BuildOptions(BatchRange(1, 2, 4)))
    session = runtime.open(built, cuda_graph=cuda_graph)
    for batch in (1, 4):
        pixels = tiny_net.images(batch)
        answer = session.run(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))["logits"]
        want = tiny_net.features(pixels)["logits"]
        assert np.abs(answer - want).max() <= (2e-3 if half else 5e-5) * np.abs(want).max()
    found = session.latency(tiny_net.images(4).transpose(0, 3, 1, 2))
    assert found.runs >= 100 and 0 < found.median_ms < 100
    session.close()
