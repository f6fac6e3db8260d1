"""Which runtimes there are, and the two that run on every machine."""

from __future__ import annotations

import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lab_subjects import scaled

from export._optional import MissingExtra, available
from export.lab.files import Files
from export.lab.runtimes import DEFAULT, NAMES, images, make
from export.lab.runtimes.cpu import timed
from export.lab.runtimes.memory import resident
from export.lab.runtimes.xla import XlaReady
from export.lab.setting import Setting
from export.lab.subject import network
from hvjax.ops.conv import plain_convolutions

ON_CPU = jax.default_backend() == "cpu"
TWO = Setting(batch=2)


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(ValueError, match=r"runtime 'tensorflow': expected one of tensorrt, .*, torch_onnx"):
        make("tensorflow")
    assert set(DEFAULT) < set(NAMES) and not any("torch" in name for name in DEFAULT)


@pytest.mark.parametrize("name", NAMES)
def test_each_is_made_or_says_what_to_install(name: str) -> None:
    try:
        runtime = make(name)
    except MissingExtra as missing:
        assert "pip install" in str(missing)
    else:
        assert runtime.name == name and runtime.device in ("cpu", "gpu") and runtime.versions()


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("tensorrt", "onnxruntime", "torch", "timm"):
        monkeypatch.setitem(sys.modules, module, None)
    for name, line in {
        "tensorrt": r"hvjax\[tensorrt\]",
        "onnxruntime": r"hvjax\[export\]",
        "onnxruntime_cuda": r"hvjax\[export\]",
    }.items():
        with pytest.raises(MissingExtra, match=line):
            make(name)


@pytest.mark.parametrize("name", ["onnxruntime", "xla"])
@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        (Setting(precision="fp16"), "float32|no fast fp16"),
        (Setting(cuda_graph=True), "CUDA graph"),
        (Setting(transfers=True), "nothing is transferred"),
    ],
)
def test_what_has_no_meaning_on_a_cpu_is_refused(name: str, setting: Setting, reason: str) -> None:
    runtime = make(name)
    if runtime.device == "gpu":
        pytest.skip("XLA computes on a GPU here")
    why = runtime.why_not(setting)
    assert why is not None and any(part in why for part in reason.split("|"))
    assert runtime.why_not(Setting()) is None


def test_xla_takes_all_threads() -> None:
    why = make("xla").why_not(Setting(threads=1))
    assert (why is not None and "all threads" in why) or not ON_CPU
    assert make("onnxruntime").why_not(Setting(threads=1)) is None


@pytest.mark.parametrize("name", ["onnxruntime", "xla"])
def test_they_run_are_opened_again_and_tell_their_memory(name: str) -> None:
    subject = scaled()
    ready = make(name).prepare(subject, TWO, Files())
    assert ready.clock == "perf_counter"
    assert len(ready.sample(3)) == 3 and all(sample.ms > 0 for sample in ready.sample(2))
    ready.reopen()
    assert len(ready.sample()) == 1
    known = {"weights", "activations", "code"} if name == "xla" else {"file"}
    grown = {"loaded", "running"} if resident() is not None or name == "xla" else set()
    assert set(ready.memory) == known | (grown if ON_CPU or name != "xla" else set(ready.memory) & grown)
    if name == "xla":
        assert ready.memory["weights"] == 4 * 3 * 4, "3 x 4 float32; the images do not count"
    ready.close()


def test_onnxruntime_computes_the_subject() -> None:
    """The images, the file and the answer belong together."""
    subject = scaled()
    ready: Any = make("onnxruntime").prepare(subject, Setting(batch=2, threads=1), Files())
    (found,) = ready._session.run(ready._images).values()
    wanted = subject.function("fp32")(subject.weights(), jnp.asarray(images.nhwc(subject, TWO)))
    assert np.allclose(found, wanted, atol=1e-6)  # a mean of 64 numbers around 0 and three products
    assert ready._session.threads == 1
    ready.close()


def test_threads_of_onnxruntime_stop_spinning_after_an_answer() -> None:
    ready: Any = make("onnxruntime").prepare(scaled(), TWO, Files())
    options = ready._session._session.get_session_options()
    assert options.get_session_config_entry("session.force_spinning_stop") == "1"
    ready.close()


@pytest.mark.skipif(not ON_CPU, reason="fast forms are for the CPU")
def test_xla_gets_the_fast_forms_of_convolutions() -> None:
    """A depthwise convolution is compiled as sums of products, as a user of hvjax has it; plain_convolutions,
    which exports use, leaves it as one."""
    subject = network("fastvit_t8", image_size=64)
    shapes = jax.eval_shape(subject.weights)

    def convolutions() -> int:
        lowered = jax.jit(subject.function("fp32")).lower(shapes, subject.images(1))
        return lowered.as_text().count("stablehlo.convolution")

    with plain_convolutions():
        plain = convolutions()
    assert plain > 30 and convolutions() < plain / 4


def test_weights_are_arguments_of_the_compiled_function() -> None:
    ready = XlaReady(scaled(), TWO, "cpu")
    ready._weights = jax.tree.map(jnp.zeros_like, ready._weights)
    assert not np.any(ready._compiled(ready._weights, jnp.asarray(images.nhwc(scaled(), TWO))))
    ready.close()


def test_a_call_during_which_the_system_took_a_processor_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = iter([0, 0, 3, 4, 4, 4])
    monkeypatch.setattr("export.lab.runtimes.cpu._taken_away", lambda: next(counts))
    assert [sample.disturbed for sample in timed(lambda: None, 3)] == [False, True, False]


@pytest.mark.skipif(available("tensorrt_rtx_bindings") is False, reason="TensorRT for RTX is not installed")
def test_tensorrt_for_rtx_needs_a_gpu_to_run() -> None:
    why = make("tensorrt_rtx").why_not(Setting())
    assert why is None or "NVIDIA" in why
