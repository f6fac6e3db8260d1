"""Trying an engine: accepted, wrong, in the wrong precision, not loading, not runnable here.

ONNX Runtime plays the engine, so that everything above the runtime is exercised as on a GPU.
"""

from __future__ import annotations

import dataclasses
import types
from typing import Any

import numpy as np
import pytest

from export import parity
from export.answers import Reference
from export.flags import parse
from export.latency import Latency, summarise
from export.runtimes import BuildError, Built, Choice
from export.runtimes.kernels import Kernel
from export.runtimes.onnxruntime import OnnxSession
from export.trial import Trial, try_engine


class Session(OnnxSession):
    closed = 0

    def latency(self, images: np.ndarray) -> Latency:
        return summarise(
            [2.0] * 100, batch=len(images), warm_up=20, clock="CUDA events", where="GPU (stand-in)"
        )

    def kernels(self) -> Any:
        return (Kernel("told by the engine", "kgen", ("Float",)),)

    def close(self) -> None:
        type(self).closed += 1
        super().close()


class Runtime:
    """Says it built and can run; `model` is what its engine really computes."""

    name, builds_engine, deploys = "tensorrt", True, "model.engine"

    def __init__(self, model: bytes | None, why_not: str | None = None) -> None:
        self.model, self.why_not = model, why_not

    def why_not_run(self) -> str | None:
        return self.why_not

    def open(self, built: Built, *, cuda_graph: bool = False) -> Session:
        if self.model is None:
            raise BuildError("built for another GPU")
        return Session(self.model)


def attempt(
    net: Any,
    runtime: Runtime,
    *flags: str,
    kernels: tuple[Kernel, ...] | None = None,
    built: bool = True,
) -> Trial:
    images = net.images(8)
    request = parse("to_trt", ["--ckpt", "x", "--batch", "1:2:4", *flags])
    subject = types.SimpleNamespace(
        inputs=np.ascontiguousarray(images.transpose(0, 3, 1, 2)),
        output="logits",
        reference=Reference({"JAX": net.features(images)["logits"]}, {}, {}),
    )
    model = net.make("batch")
    result = Built("tensorrt", model, b"engine", 1.0, kernels) if built else None
    return try_engine(request, Choice(runtime), result, subject, model, half_share=1.0)  # type: ignore[arg-type]


def spoilt(net: Any) -> bytes:
    bias = net.weights["head.bias"] + np.float32(0.01)
    return dataclasses.replace(net, weights={**net.weights, "head.bias": bias}).make("batch")


def test_a_right_engine_is_gated_at_every_batch_and_timed(tiny_net: Any) -> None:
    found = attempt(tiny_net, Runtime(tiny_net.make("batch")))
    assert found.ran and found.passed and found.why_not is None
    assert [(line.candidate, line.batch) for line in found.comparisons] == [
        ("model.engine", batch) for batch in (1, 2, 4)
    ]
    assert all(line.limit == parity.ENGINE_FP32_LIMIT and line.needs_top1 for line in found.comparisons)
    assert [(one.batch, one.clock) for one in found.latencies] == [(1, "CUDA events"), (2, "CUDA events")]
    assert found.kernels and found.kernels[0].name == "told by the engine"


def test_a_wrong_engine_is_refused_although_the_file_is_right(tiny_net: Any) -> None:
    found = attempt(tiny_net, Runtime(spoilt(tiny_net)))
    assert found.ran and not found.passed
    assert "logits of model.engine differ from JAX" in found.comparisons[0].sentence()


def test_tf32_has_the_limit_of_its_eleven_bits(tiny_net: Any) -> None:
    found = attempt(tiny_net, Runtime(tiny_net.make("batch")), "--tf32")
    assert {(line.limit, line.needs_top1) for line in found.comparisons} == {
        (parity.ENGINE_TF32_LIMIT, False)
    }


def test_an_engine_that_does_not_load_fails(tiny_net: Any) -> None:
    found = attempt(tiny_net, Runtime(None))
    assert not found.ran and not found.passed
    assert found.errors == ("the engine does not load here: built for another GPU",)


def test_an_engine_that_refuses_its_input_fails_and_is_closed(tiny_net: Any) -> None:
    before = Session.closed
    found = attempt(tiny_net, Runtime(tiny_net.make(7)))
    assert not found.ran and not found.passed and "does not run here" in found.errors[0]
    assert Session.closed == before + 1


def test_without_a_gpu_the_file_is_timed_and_nothing_is_claimed(tiny_net: Any) -> None:
    found = attempt(tiny_net, Runtime(tiny_net.make("batch"), why_not="no NVIDIA GPU"))
    assert not found.ran and found.passed and found.why_not == "no NVIDIA GPU"
    assert found.comparisons == () and found.latencies[0].where.startswith("CPU")
    needed = attempt(tiny_net, Runtime(None, why_not="no NVIDIA GPU"), "--require-engine-run")
    assert not needed.passed and needed.errors == ("--require-engine-run: no NVIDIA GPU",)


@pytest.mark.parametrize(("half", "passes"), [(9, True), (5, True), (4, False), (0, False)])
def test_an_fp16_engine_must_compute_in_float16(tiny_net: Any, half: int, passes: bool) -> None:
    kernels = tuple(Kernel(f"k{n}", "gemm", ("Half",) if n < half else ("Float",)) for n in range(10))
    runtime = Runtime(tiny_net.make("batch"), why_not="no NVIDIA GPU")
    found = attempt(tiny_net, runtime, "--precision", "fp16", kernels=kernels)
    assert found.passed is passes
    assert passes or f"{half} of its 10 kernels write float16" in found.errors[0]


def test_a_build_that_failed_leaves_nothing_to_try(tiny_net: Any) -> None:
    found = attempt(tiny_net, Runtime(None), built=False)
    assert not found.ran and found.why_not == "there is no engine"
