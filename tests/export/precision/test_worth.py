"""Half precision beside float32: what is compared, what is refused, and what the report shows."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from export import speed, to_trt
from export._optional import available
from export.flags import parse
from export.precision import worth
from export.precision.worth import Worth, weigh, worth_card
from export.runtimes import BuildError, Built, Choice
from export.runtimes.kernels import Kernel
from export.trial import Trial

SMALL = ["--via", "stablehlo", "--image-size", "32", "--batch", "4", "--gate-images", "8"]
IMAGES = np.zeros((4, 3, 8, 8), np.float32)


def kernels(count: int) -> tuple[Kernel, ...]:
    return tuple(Kernel(f"k{n}", "gemm", ("Half",)) for n in range(count))


class Runtime:
    """A GPU on which each file takes `milliseconds[file]`."""

    name, builds_engine = "tensorrt", True

    def __init__(self, milliseconds: dict[bytes, float], broken: bool = False) -> None:
        self.milliseconds, self.broken = milliseconds, broken

    def build(self, model: bytes, options: Any) -> Built:
        self.asked = options
        if self.broken:
            raise BuildError("no float32 on this device")
        return Built(self.name, model, model * 2, 1.0, kernels(len(model)))

    def open(self, built: Built, *, cuda_graph: bool = False) -> Any:
        time = self.milliseconds[built.model]
        return SimpleNamespace(
            latency=lambda images: SimpleNamespace(median_ms=time), close=lambda: None, cuda_graph=cuda_graph
        )


def weighed(runtime: Runtime, *flags: str, ran: bool = True) -> Worth:
    request = parse("to_trt", ["--ckpt", "x", "--precision", "fp16", "--batch", "4", *flags])
    built = Built("tensorrt", b"half", b"engine", 1.0, kernels(3))
    choice: Any = Choice(runtime)  # type: ignore[arg-type]
    return weigh(request, b"half", b"float32", choice, built, Trial(ran=ran), IMAGES)


def test_a_faster_engine_is_worth_it() -> None:
    found = weighed(Runtime({b"half": 2.0, b"float32": 4.0}))
    assert found == Worth("fp16", (4, 7), (6, 14), (3, 7), None, 0.5)
    assert not found.reasons() and "3 kernels for 7; 0.50 times the time of fp32 on this GPU" in found.line()


def test_a_slower_engine_is_refused() -> None:
    found = weighed(Runtime({b"half": 6.0, b"float32": 4.0}))
    assert found.reasons() == ["the fp16 engine takes 1.50 times as long as the fp32 engine"]


def test_an_engine_that_did_not_run_is_not_timed() -> None:
    assert weighed(Runtime({}), ran=False) == Worth("fp16", (4, 7), (6, 14), (3, 7))


def test_the_other_engine_is_built_alike_and_leaves_the_timing_cache_alone(tmp_path: Path) -> None:
    """The report gives the hash of the cache behind the engine that ships."""
    runtime = Runtime({})
    cache = str(tmp_path / "times.bin")
    weighed(runtime, "--optimization-level", "5", "--timing-cache", cache, ran=False)
    assert runtime.asked.builder.timing_cache is None and runtime.asked.builder.optimization_level == 5


def test_without_a_float32_engine_the_files_are_compared(capsys: pytest.CaptureFixture[str]) -> None:
    assert weighed(Runtime({}, broken=True)) == Worth("fp16", (4, 7))
    assert "no fp32 engine to compare fp16 with: no float32 on this device" in capsys.readouterr().err


def test_the_card_shows_both() -> None:
    page = worth_card({"worth": Worth("bf16", (50, 100), kernels=(9, 8), cpu_ratio=1.25).as_dict()})
    assert "bf16 beside fp32" in page and "<td>kernels</td>" in page and "1.25" in page
    assert worth_card({"worth": None}) == worth_card({}) == ""


def exported(weights: Path, out: Path, *more: str) -> tuple[int, dict[str, Any]]:
    arguments = ["--ckpt", str(weights), "--out", str(out), *SMALL, "--precision", "fp16", *more]
    status = to_trt.main(arguments)
    folder = out if status == 0 else out / "rejected"
    return status, json.loads((folder / "report.json").read_text())


@pytest.mark.parametrize("force", [False, True])
def test_slower_on_the_cpu_it_is_for_is_refused_unless_forced(
    small_weights: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    monkeypatch.setattr(speed, "ratio", lambda first, second: first() is second() or 1.4)
    flags = ["--runtime", "onnxruntime"] + (["--force-precision"] if force else [])
    status, data = exported(small_weights, tmp_path / "out", *flags)
    assert (status == 0) is force and data["worth"]["cpu_ratio"] == 1.4
    half, full = data["worth"]["file"]
    assert half < full
    reason = "fp16 takes 1.40 times as long as fp32 in ONNX Runtime"
    assert any(reason in text for text in data["notices" if force else "reasons"])
    assert "worth    model.onnx" in capsys.readouterr().out


@pytest.mark.skipif(not available("tensorrt_rtx_bindings"), reason="needs TensorRT for RTX")
def test_a_real_engine_is_compared_with_one_in_float32(small_weights: Path, tmp_path: Path) -> None:
    status, data = exported(small_weights, tmp_path / "out", "--runtime", "tensorrt_rtx")
    assert status == 0
    found = Worth(**{field.name: data["worth"][field.name] for field in dataclasses.fields(worth.Worth)})
    assert found.engine and found.engine[0] < found.engine[1], "half the bytes of the weights"
    assert found.kernels and found.kernels[0] == data["engine"]["kernels"]
    assert found.gpu_ratio is None and not found.reasons()
    assert "fp16 beside fp32" in (tmp_path / "out" / "report.html").read_text()
