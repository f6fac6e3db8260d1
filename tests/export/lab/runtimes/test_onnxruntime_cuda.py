"""ONNX Runtime's CUDA provider in the lab, with a stand-in that computes on the CPU."""

from __future__ import annotations

from typing import Any

import pytest
from fake_cuda import FakeCuda
from fake_ort import FakeOrt
from lab_subjects import scaled

from export.lab.files import Files
from export.lab.runtimes import onnxruntime_cuda
from export.lab.runtimes.onnxruntime_cuda import OnnxRuntimeCuda
from export.lab.setting import Setting
from export.runtimes import BuildError, cuda, providers

FILES = Files()


@pytest.fixture
def ort(monkeypatch: pytest.MonkeyPatch) -> FakeOrt:
    fake, api = FakeOrt(), FakeCuda()
    for module in (providers, onnxruntime_cuda):
        monkeypatch.setattr(module, "require", lambda name: fake)
    monkeypatch.setattr("export.runtimes.onnxruntime.require", lambda name: fake)
    monkeypatch.setattr(cuda, "runtime_api", lambda: api)
    return fake


def ready(**setting: Any) -> Any:
    return OnnxRuntimeCuda().prepare(scaled(), Setting(batch=2, **setting), FILES)


def test_no_copy_is_timed_unless_asked_for(ort: FakeOrt) -> None:
    one = ready()
    assert len(one.sample(3)) == 3 and one.clock == "perf_counter"
    assert ort.runs == 0, "`run` copies"
    one.close()
    copying = ready(transfers=True)
    before = ort.runs
    copying.sample(3)
    assert ort.runs == before + 3
    copying.close()


def test_tf32_is_off_and_opening_again_makes_a_new_session(ort: FakeOrt) -> None:
    one = ready()
    one.reopen()
    assert one.sample()[0].ms > 0
    assert ort.asked == [[(providers.PROVIDERS["cuda"], {"use_tf32": "0"})]] * 2
    assert set(one.memory) == {"file", "loaded", "running"}
    one.close()


def test_a_node_on_the_cpu_is_refused(ort: FakeOrt) -> None:
    ort.on_cpu = 1
    with pytest.raises(BuildError, match=r"has no CUDA kernel for 1 of \d+ nodes"):
        ready()


def test_a_silent_fallback_is_refused(ort: FakeOrt) -> None:
    ort.falls_back = True
    with pytest.raises(BuildError, match="does not use CUDAExecutionProvider here"):
        ready()


def test_a_failure_while_it_is_measured_is_told_in_a_line(ort: FakeOrt) -> None:
    one = ready()

    def fail() -> None:
        raise RuntimeError("CUDA failure 2: out of memory\n in cuda_call.cc")

    one._call = fail
    with pytest.raises(BuildError, match=r"^ONNX Runtime does not run the file: CUDA failure 2: .*memory$"):
        one.sample()


def test_why_not(ort: FakeOrt, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = OnnxRuntimeCuda()
    assert runtime.why_not(Setting()) is None and runtime.versions() == {"onnxruntime": "1.99"}
    assert "CUDA graphs" in str(runtime.why_not(Setting(cuda_graph=True)))
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert "pip install onnxruntime-gpu" in str(runtime.why_not(Setting()))
    monkeypatch.undo()
    monkeypatch.setattr(cuda, "runtime_api", lambda: FakeCuda(fail="cudaGetDeviceCount"))
    if cuda.available("cuda.bindings"):
        assert runtime.why_not(Setting()) is not None
