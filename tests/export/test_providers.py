"""ONNX Runtime's providers: the real session on the CPU, and stand-ins for what a GPU would say."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import bundles
import numpy as np
import onnxruntime
import pytest
from fake_ort import FakeOrt

from export import engine_flags
from export.arguments import UsageError
from export.batch import BatchRange
from export.bundle import command, flags
from export.engine_flags import choose
from export.flags import parse
from export.runtimes import BuildError, BuildOptions, make, providers
from export.runtimes.providers import PROVIDERS, ProviderSession

FOUR = BuildOptions(BatchRange(4, 4, 4))
CUDA, CPU = PROVIDERS["cuda"], PROVIDERS["cpu"]


@pytest.fixture
def ort(monkeypatch: pytest.MonkeyPatch) -> FakeOrt:
    fake = FakeOrt()
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    monkeypatch.setattr(providers, "require", lambda name: fake)
    monkeypatch.setattr("export.runtimes.onnxruntime.require", lambda name: fake)
    return fake


def pictures(net: Any) -> np.ndarray:
    return net.images(4).transpose(0, 3, 1, 2).copy()


def test_the_real_session_answers_and_says_where(tiny_net: Any) -> None:
    """On the CPU, the one provider that is everywhere: the very code that a GPU would run."""
    session = ProviderSession(tiny_net.make(), "cpu")
    want = tiny_net.features(tiny_net.images(4))["logits"]
    assert np.abs(session.run(pictures(tiny_net))["logits"] - want).max() <= 1e-5 * np.abs(want).max()
    assert session.nodes is not None and set(session.nodes) == {CPU}
    found = session.latency(pictures(tiny_net))
    assert found.where == f"CPU (ONNX Runtime, {CPU})" and found.runs >= 100 and found.median_ms > 0
    session.close()


@pytest.mark.skipif(CUDA in onnxruntime.get_available_providers(), reason="this onnxruntime has CUDA")
def test_the_real_onnxruntime_falls_back_and_we_do_not(tiny_net: Any) -> None:
    with pytest.raises(BuildError, match=f"does not use {CUDA} here but {CPU}"):
        ProviderSession(tiny_net.make(), "cuda")
    reason = make("onnxruntime", "cuda").why_not_build()
    assert reason is not None and "pip install onnxruntime-gpu" in reason and CPU in reason


def test_libraries_that_are_missing_are_no_fallback(ort: FakeOrt, tiny_net: Any) -> None:
    ort.falls_back = True
    with pytest.raises(BuildError, match="does not use CUDAExecutionProvider here but CPUExecutionProvider"):
        make("onnxruntime", "cuda").build(tiny_net.make(), FOUR)


def test_nodes_on_the_cpu_are_counted(ort: FakeOrt, tiny_net: Any) -> None:
    ort.on_cpu = 1
    session = ProviderSession(tiny_net.make(), "cuda")
    total = sum((session.nodes or {}).values())
    assert session.where == f"GPU (ONNX Runtime, {CUDA}; 1 of {total} nodes on the CPU)"
    found = session.latency(pictures(tiny_net))
    assert found.where == session.where and found.clock == "perf_counter"
    ort.on_cpu = 99
    with pytest.raises(BuildError, match="computes none of the nodes with CUDA"):
        ProviderSession(tiny_net.make(), "cuda")


def test_tf32_is_off_unless_asked(ort: FakeOrt, tiny_net: Any) -> None:
    model, images = tiny_net.make(), pictures(tiny_net)
    ProviderSession(model, "cuda").run(images)
    ProviderSession(model, "cuda", tf32=True).run(images)
    assert [asked for (asked,) in ort.asked] == [(CUDA, {"use_tf32": "0"}), (CUDA, {"use_tf32": "1"})]
    assert ort.environment == [None] * 4
    ort.environment.clear()
    ProviderSession(model, "tensorrt").run(images)
    assert ort.asked[-1] == [(PROVIDERS["tensorrt"], {}), (CUDA, {"use_tf32": "0"})]
    assert ort.environment == ["0", "0"] and "NVIDIA_TF32_OVERRIDE" not in os.environ
    ProviderSession(model, "tensorrt", tf32=True)
    assert ort.environment[-1] is None


# --- the commands ---------------------------------------------------------------------------------------


def test_flags_that_do_not_go_together() -> None:
    for argv, message in (
        (["--provider", "gpu"], "--provider gpu: .*accepted are cpu, cuda, tensorrt"),
        (["--provider", "cuda"], "--provider cuda is about --runtime onnxruntime"),
        (
            ["--provider", "cuda", "--runtime", "onnxruntime", "--cuda-graph"],
            "--cuda-graph is about an engine",
        ),
        (["--runtime", "onnxruntime", "--tf32"], "--tf32 is about an engine"),
    ):
        with pytest.raises(UsageError, match=message):
            parse("to_trt", ["--ckpt", "x", *argv])
        with pytest.raises(UsageError, match=message):
            flags.parse(["--onnx", "x", *argv])
    assert parse("to_trt", ["--ckpt", "x", "--runtime", "onnxruntime", "--provider", "cuda", "--tf32"]).tf32


def test_a_provider_that_is_not_there_ends_the_command() -> None:
    request = flags.parse(["--onnx", "x", "--runtime", "onnxruntime", "--provider", "tensorrt"])
    with pytest.raises(UsageError, match="takes --precision fp32 only, not fp16"):
        choose(request, "fp16")
    if PROVIDERS["tensorrt"] not in onnxruntime.get_available_providers():
        with pytest.raises(UsageError, match=r"--provider tensorrt: .* the installed onnxruntime"):
            choose(request, "fp32")
    assert engine_flags.options(request, FOUR.batch) == FOUR


@pytest.mark.parametrize("tf32", [False, True])
def test_a_bundle_is_gated_where_it_is_deployed(
    ort: FakeOrt, tiny_net: Any, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, tf32: bool
) -> None:
    monkeypatch.setattr("export.bundle.trial.why_not_gated", lambda bundle: "not asked here")
    bundle = bundles.write(tiny_net, tmp_path / "bundle", (4, 4, 4))
    asked = ["--runtime", "onnxruntime", "--provider", "cuda", *(["--tf32"] if tf32 else [])]
    assert command.main(["--onnx", str(bundle), *asked]) == 0
    said = capsys.readouterr().out
    assert "model.onnx on CUDAExecutionProvider ran, and passed the gate" in said
    assert "latency  GPU (ONNX Runtime, CUDAExecutionProvider)" in said
    report = json.loads((bundle / "onnxruntime" / "report.json").read_text())
    assert report["engine"]["options"]["provider"] == "cuda"
    assert report["engine"]["status"] == "ran, and passed the gate"
    lines = [line for line in report["gate"]["comparisons"] if line["candidate"] == f"model.onnx on {CUDA}"]
    assert [line["limit"] for line in lines] == [2e-3 if tf32 else 5e-5]
    assert ort.asked[-1] == [(CUDA, {"use_tf32": "1" if tf32 else "0"})]


@pytest.mark.gpu
@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_real_provider_on_a_real_gpu(tiny_net: Any, provider: str) -> None:
    if PROVIDERS[provider] not in onnxruntime.get_available_providers():
        pytest.skip(f"this onnxruntime has no {PROVIDERS[provider]}: pip install onnxruntime-gpu")
    session = ProviderSession(tiny_net.make(), provider)
    want = tiny_net.features(tiny_net.images(4))["logits"]
    assert np.abs(session.run(pictures(tiny_net))["logits"] - want).max() <= 5e-5 * np.abs(want).max()
    found = session.latency(pictures(tiny_net))
    assert found.where.startswith(f"GPU (ONNX Runtime, {PROVIDERS[provider]}") and 0 < found.median_ms < 100
    session.close()
