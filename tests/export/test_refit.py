"""Engines without weights: they get those of model.onnx before they run."""

from __future__ import annotations

from typing import Any

import pytest

from export._optional import available
from export.batch import BatchRange
from export.runtimes import BuildError, BuildOptions, make
from export.runtimes.builder import BuilderOptions
from export.runtimes.refit import refit
from export.runtimes.tensorrt import TensorRT

FOUR = BatchRange(4, 4, 4)
needs_rtx = pytest.mark.skipif(
    not available("tensorrt_rtx_bindings"), reason="TensorRT for RTX is not installed: hvjax[tensorrt-rtx]"
)


def build(fake: Any, **options: Any) -> Any:
    return TensorRT("tensorrt", fake.module).build(
        b"model", BuildOptions(FOUR, builder=BuilderOptions(**options))
    )


class Refitting:
    """`Refitter` and `OnnxParserRefitter` of an engine whose weights are named."""

    def __init__(self, trt: Any, needs: set[str], parses: bool = True, fits: bool = True) -> None:
        self.needs, self.parses, self.fits, self.calls = needs, parses, fits, []
        trt.Refitter, trt.OnnxParserRefitter = self.refitter, self.parser

    def refitter(self, engine: Any, log: Any) -> Any:
        self.calls.append(("engine", engine))
        return self

    def parser(self, refitter: Any, log: Any) -> Any:
        assert refitter is self
        return self

    num_errors = 1

    def get_error(self, index: int) -> Any:
        return type("Error", (), {"desc": lambda _: "no initializer w1"})()

    def refit_from_bytes(self, model: bytes) -> bool:
        self.calls.append(("model", model))
        return self.parses

    def get_missing_weights(self) -> list[str]:
        return sorted(self.needs)

    def refit_cuda_engine(self) -> bool:
        self.calls.append(("refitted", True))
        return self.fits


def test_an_engine_gets_its_weights_before_it_runs(fake_trt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The session that `open` makes for the gate refits it, with the very file it was built from."""
    from export.runtimes import engine

    fake = fake_trt("11")
    refitting = Refitting(fake.module, set())
    order: list[str] = []

    class Engine:
        num_io_tensors = 0

        def create_execution_context(self) -> Any:
            order.extend(name for name, _ in refitting.calls)
            return None

    class Runtime:
        engine_host_code_allowed = False

        def __init__(self, log: Any) -> None:
            self.log = log

        def deserialize_cuda_engine(self, data: bytes) -> Any:
            order.append(f"host code {self.engine_host_code_allowed}")
            return Engine()

    fake.module.Runtime = Runtime
    runtime = TensorRT("tensorrt", fake.module)
    for options, expected in (
        ({"strip_weights": True}, ["host code False", "engine", "model", "refitted"]),
        ({"refit": True}, ["host code False"]),
        ({"version_compatible": True}, ["host code True"]),
    ):
        built = build(fake, **options)
        order.clear(), refitting.calls.clear()
        with pytest.raises(BuildError, match="no execution context"):  # the fake ends here
            runtime.open(built)
        assert order == expected
        assert [value for name, value in refitting.calls if name == "model"] == [b"model"] * built.stripped
    assert engine.refit is refit


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"parses": False}, "does not take its weights from model.onnx: no initializer w1"),
        ({"needs": {"w1", "w2", "w3", "w4", "w5"}}, "lacks weights of the engine: w1, w2, w3 and 2 more"),
        ({"fits": False}, "could not be refitted from model.onnx: Error Code 4"),
    ],
)
def test_a_refit_that_fails_says_why(fake_trt: Any, state: Any, message: str) -> None:
    from export.runtimes.tensorrt import recording_logger

    fake = fake_trt("10")
    log = recording_logger(fake.module)
    log.log(fake.module.ILogger.ERROR, "Error Code 4")
    Refitting(fake.module, state.pop("needs", set()), **state)
    with pytest.raises(BuildError, match=message):
        refit(fake.module, object(), b"model", log)


@needs_rtx
def test_rtx_needs_a_gpu_to_leave_weights_out(tiny_net: Any) -> None:
    runtime = make("tensorrt_rtx")
    model = tiny_net.make()
    options = BuildOptions(FOUR, builder=BuilderOptions(strip_weights=True))
    if runtime.why_not_run() is not None:
        with pytest.raises(BuildError, match="--strip-weights needs a GPU to build with tensorrt_rtx: "):
            runtime.build(model, options)
        return
    stripped, whole = runtime.build(model, options), runtime.build(model, BuildOptions(FOUR))
    assert len(stripped.engine or b"") < len(whole.engine or b"")
    images = tiny_net.images(4).transpose(0, 3, 1, 2).copy()
    answers = []
    for built in (stripped, whole):
        session = runtime.open(built)
        answers.append(session.run(images)["logits"])
        session.close()
    assert abs(answers[0] - answers[1]).max() <= 5e-5 * abs(answers[1]).max()
