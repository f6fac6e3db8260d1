"""Engines of the lab on a fake GPU: what is timed, what is measured of memory, what is given back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fake_cuda import FakeCuda, FakeEngine
from lab_subjects import NoFiles, scaled

from export.lab.runtimes.engine import Engines
from export.lab.setting import Setting
from export.runtimes import BuildError, cuda
from export.runtimes.tensorrt import TensorRT

FILES: Any = NoFiles()
#: Milliseconds that the fakes say of a launch and of a replayed graph.
LAUNCH, REPLAY = 1.0, 0.5


class Lab:
    def __init__(self, fake_trt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.trt, self.api = fake_trt("rtx"), FakeCuda()
        self.trt.input_shape = (2, 3, 8, 8)
        self.opened: list[FakeEngine] = []
        lab = self

        class Runtime:
            def __init__(self, log: Any) -> None: ...

            def deserialize_cuda_engine(self, data: bytes) -> Any:
                assert data == b"engine"
                engine: Any = FakeEngine(lab.trt.module, lab.api, largest=2)
                engine.device_memory_size_v2, engine.streamable_weights_size = 4096, 0
                lab.opened.append(engine)
                return engine

        self.trt.module.Runtime = Runtime
        monkeypatch.setattr(cuda, "runtime_api", lambda: self.api)
        self.runtime = Engines("tensorrt_rtx", TensorRT("tensorrt_rtx", self.trt.module))


@pytest.fixture
def lab(fake_trt: Any, monkeypatch: pytest.MonkeyPatch) -> Lab:
    return Lab(fake_trt, monkeypatch)


def ready(lab: Lab, **setting: Any) -> Any:
    return lab.runtime.prepare(scaled(), Setting(batch=2, **setting), FILES)


def test_a_sample_is_the_time_between_two_events(lab: Lab) -> None:
    one = ready(lab, precision="fp16")
    assert [sample.ms for sample in one.sample(3)] == [LAUNCH] * 3
    assert one.clock == "CUDA events"
    assert lab.trt.seen("parse") == [b"scaled 2 fp16"]
    one.close()
    assert lab.api.alive == set()


def test_no_copy_is_timed_unless_asked_for(lab: Lab) -> None:
    one = ready(lab)
    lab.api.calls.clear()
    one.sample(4)
    assert "cudaMemcpyAsync" not in lab.api.calls


def test_transfers_go_through_page_locked_memory_inside_of_the_events(lab: Lab) -> None:
    one = ready(lab, transfers=True)
    lab.api.calls.clear()
    one.sample()
    inside = lab.api.calls[lab.api.calls.index("cudaEventRecord") + 1 :]
    assert inside[:2] == ["cudaMemcpyAsync"] * 2  # images in, logits out; the engine is no call of CUDA
    assert inside[2] == "cudaEventRecord"
    images, logits = lab.api.pinned.values()
    wanted = np.frombuffer(images, np.float16).reshape(2, -1).astype(np.float32).mean(1)
    assert np.array_equal(np.frombuffer(logits, np.float32), wanted)
    one.close()
    assert lab.api.alive == set()


@pytest.mark.parametrize("transfers", [False, True])
def test_a_graph_is_recorded_once_and_replayed(lab: Lab, transfers: bool) -> None:
    one = ready(lab, cuda_graph=True, transfers=transfers)
    assert lab.api.recorded == 1
    assert [sample.ms for sample in one.sample(3)] == [REPLAY] * 3
    one.close()
    assert lab.api.alive == set()


def test_opening_again_loads_the_engine_again_and_builds_nothing(lab: Lab) -> None:
    one = ready(lab)
    one.reopen()
    assert len(lab.opened) == 2 and len(lab.trt.seen("parse")) == 1
    assert one.sample()[0].ms == LAUNCH
    one.close()
    one.close()
    assert lab.api.alive == set()


def test_kernels_of_tensorrt_for_rtx_are_compiled_once(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its engines are compiled when they are loaded: opening again must not pay for that."""
    seen: list[str] = []

    class Cache:
        def serialize(self) -> bytes:
            seen.append("serialize")
            return b"kernels"

        def deserialize(self, blob: bytes) -> bool:
            seen.append(f"deserialize {blob!r}")
            return True

    class Config:
        def create_runtime_cache(self) -> Cache:
            return Cache()

        def set_runtime_cache(self, cache: Cache) -> bool:
            seen.append("set")
            return True

    monkeypatch.setattr(FakeEngine, "create_runtime_config", lambda self: Config())
    one = ready(lab)
    one.reopen()
    one.reopen()
    assert seen == ["set", "serialize", *["deserialize b'kernels'", "set"] * 2]
    one.close()


def test_memory(lab: Lab) -> None:
    memory = ready(lab).memory
    images, logits = 2 * 3 * 8 * 8 * 2, 2 * 4
    assert memory == {
        "file": len(b"scaled 2 fp32"),
        "engine": len(b"engine"),
        "activations": 4096,
        "loaded": images + logits,
        "running": images + logits,
    }


def test_a_gpu_that_is_too_small_is_a_build_error_and_keeps_nothing(lab: Lab) -> None:
    lab.api.fail = "cudaMalloc"
    with pytest.raises(BuildError, match="tensorrt_rtx: cudaMalloc: out of memory"):
        ready(lab)
    assert lab.api.alive == set()


def test_a_batch_that_the_engine_does_not_take(lab: Lab) -> None:
    lab.trt.input_shape = (3, 3, 8, 8)
    with pytest.raises(BuildError, match=r"does not take images of shape \(3, 3, 8, 8\)"):
        lab.runtime.prepare(scaled(), Setting(batch=3), FILES)
    assert lab.api.alive == set()


def test_without_a_gpu_it_says_why(lab: Lab) -> None:
    assert lab.runtime.why_not(Setting()) is None
    lab.api.fail = "cudaGetDeviceCount"
    assert lab.runtime.why_not(Setting()) == "no usable NVIDIA GPU: out of memory"
    assert lab.runtime.versions() == {"tensorrt_rtx": "rtx"}


def test_a_gpu_that_fails_while_it_is_measured_is_an_error_in_words(lab: Lab) -> None:
    one = ready(lab)
    lab.api.fail = "cudaEventCreate"
    with pytest.raises(BuildError, match="tensorrt_rtx: cudaEventCreate: out of memory"):
        one.sample()
    lab.api.fail = "cudaMalloc"
    with pytest.raises(BuildError, match="tensorrt_rtx: cudaMalloc: out of memory"):
        one.reopen()
