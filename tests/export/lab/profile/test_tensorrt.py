"""Profiles of engines, from layer times that are made up: no engine runs here."""

from typing import Any

import pytest
from fake_cuda import FakeCuda, FakeEngine
from lab_subjects import NoFiles, scaled
from profile_samples import FILE, model

from export.lab.profile import take as taking
from export.lab.profile import tensorrt
from export.lab.profile.kinds import CONVOLUTION, ELEMENTWISE, MATMUL, MOVEMENT, OTHER, unknown
from export.lab.profile.take import take
from export.lab.runtimes.engine import Engines
from export.lab.setting import Setting
from export.runtimes import cuda
from export.runtimes.kernels import Kernel
from export.runtimes.tensorrt import TensorRT

KERNELS = [
    Kernel("fused_1", "correlation", nodes=("stem/conv/Conv", "stem/Relu")),
    Kernel("block2/fc/MatMul_myl0_3", "gemm"),
    Kernel("__myl_Tran_myl0_4", "kgen", nodes=("block2/Transpose",)),
    Kernel("__myl_Add_myl0_5", "kgen", nodes=("block1/Add", "block1/Relu")),
    Kernel("__myl_nobody_myl0_6", "pooling"),
    Kernel("strange", "sorcery"),
]


def test_layers_are_found_in_the_file_by_what_the_builder_says() -> None:
    names = [kernel.name for kernel in KERNELS] + ["not listed"]
    calls = [[(name, 1.0 + place) for place, name in enumerate(names)] for _ in range(3)]
    calls[0][0] = ("fused_1", 90.0)  # one odd call
    calls[1].append(("strange", 2.0))  # a layer that ran twice
    found = {op.name: op for op in tensorrt.read(calls, KERNELS, model(FILE))}
    assert [(op.kind, op.module) for op in found.values()] == [
        (CONVOLUTION, "stem/conv"),
        (MATMUL, "block2/fc"),
        (MOVEMENT, "block2"),
        (ELEMENTWISE, "block1"),
        ("reduction", None),
        (OTHER, None),
        (OTHER, None),
    ]
    assert found["fused_1"].heavy == ("stem/conv",) and found["strange"].heavy == ()
    assert found["fused_1"].ms == 1.0 and found["strange"].count == 2
    assert unknown(found.values()) == ["not in the engine's list", "sorcery"]


class Lab:
    """An engine on a fake GPU whose context tells a profiler of two layers for each launch."""

    def __init__(self, fake_trt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.trt, self.api = fake_trt("rtx"), FakeCuda()
        self.trt.input_shape = (1, 3, 8, 8)
        lab, module = self, self.trt.module

        class Profiler:
            pass

        class Runtime:
            def __init__(self, log: Any) -> None: ...

            def deserialize_cuda_engine(self, data: bytes) -> Any:
                engine: Any = FakeEngine(module, lab.api, largest=1)
                context = engine.create_execution_context()
                launch = context.execute_async_v3

                def told(stream: Any) -> Any:
                    done = launch(stream)
                    if (profiler := getattr(context, "profiler", None)) is not None:
                        profiler.report_layer_time("stem/conv/Conv", 0.75)
                        profiler.report_layer_time("hidden", 0.25)
                    return done

                context.execute_async_v3 = told
                engine.create_execution_context = lambda *given: context
                return engine

        module.IProfiler, module.Runtime = Profiler, Runtime
        monkeypatch.setattr(cuda, "runtime_api", lambda: self.api)
        self.runtime = Engines("tensorrt_rtx", TensorRT("tensorrt_rtx", module))


def test_a_profile_is_taken_after_the_calls_without_it(
    fake_trt: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = Lab(fake_trt, monkeypatch)
    seen: dict[str, Any] = {}

    def read(calls: Any, kernels: Any, file: bytes) -> list[Any]:
        seen.update(calls=calls, file=file)
        return []

    monkeypatch.setattr(tensorrt, "read", read)
    files: Any = NoFiles()
    profile = take(scaled(), Setting(cuda_graph=True), lab.runtime, files, seconds=0.02)
    assert seen["file"] == b"scaled 1 fp32"
    assert all(call == [("stem/conv/Conv", 0.75), ("hidden", 0.25)] for call in seen["calls"])
    assert profile.profiled_ms == 1.0 and profile.latency_ms == 1.0  # the fake's launch takes a millisecond
    assert profile.runs == len(seen["calls"]) and profile.setting["cuda_graph"] is False
    assert lab.api.alive == set()


def test_runtimes_without_a_profiler_are_refused() -> None:
    class Other:
        name, device = "torch", "cpu"

    with pytest.raises(ValueError, match=r"'torch' has no profiler here; those that have: tensorrt"):
        take(scaled(), Setting(), Other())  # type: ignore[arg-type]
    assert taking.NAMES == ("tensorrt", "tensorrt_rtx", "onnxruntime", "xla")
