"""`--precision int8` from the command line: accepted, refused, forced, and mistakes in one line."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest

from export import flags, parity, speed, to_onnx
from export.agreement import Agreement
from export.quantize import stage, verdict
from export.quantize.flags import QuantiseRequest
from export.quantize.work import Quantised
from export.runtimes import Built
from export.runtimes.kernels import Kernel
from export.trial import Trial, wrong_precision

SMALL = ["--via", "stablehlo", "--image-size", "32", "--batch", "4", "--gate-images", "8"]
INT8 = ["--precision", "int8", "--calibration-images", "8", "--int8-rest", "fp32"]


def mistake(capsys: Any, *arguments: str) -> str:
    assert to_onnx.main(list(arguments)) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1, captured.err
    return captured.err


def export(weights: Path, out: Path, *more: str) -> tuple[int, dict[str, Any]]:
    """Exit status and report."""
    status = to_onnx.main(["--ckpt", str(weights), "--out", str(out), *SMALL, *INT8, *more])
    folder = out if status == 0 else out / "rejected"
    return status, json.loads((folder / "report.json").read_text())


@pytest.fixture
def as_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times are none of these tests' business."""
    monkeypatch.setattr(stage, "ratio", lambda *calls: 1.0)


@pytest.mark.usefixtures("as_fast")
def test_an_accepted_file_and_its_verdict(small_weights: Path, tmp_path: Path, capsys: Any) -> None:
    status, data = export(small_weights, tmp_path / "out")
    said = capsys.readouterr()
    assert status == 0 and data["accepted"]
    assert "no --calibration: ranges are taken from 8 crops" in said.err
    assert "int8     16 layers (2 kept float), entropy of 8 images" in said.out
    found = data["int8"]
    assert found["bytes_int8"] < found["bytes_float"] and found["cpu_ratio"] == 1.0
    assert list(found["kept"].values()) == ["the first layer", "the last layer"]
    assert "Layers in int8" in (tmp_path / "out" / "report.html").read_text()
    operators = data["graph"]["operators"]
    assert operators["DequantizeLinear"] == operators["QuantizeLinear"] + len(found["layers"])
    lines = [line for line in data["gate"]["comparisons"] if line["candidate"] == "model.onnx"]
    assert all(parity.FP16_LIMIT < line["relative"] <= parity.INT8_LIMIT for line in lines)
    metadata = {p.key: p.value for p in onnx.load(tmp_path / "out" / "model.onnx").metadata_props}
    assert metadata["precision"] == "int8"


@pytest.mark.usefixtures("as_fast")
def test_beyond_its_limit_it_is_refused_unless_forced(
    small_weights: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(parity.ONNX_LIMITS, "int8", 1e-5)
    status, data = export(small_weights, tmp_path / "out")
    assert status == 1 and not data["accepted"] and "logits of model.onnx differ" in data["reasons"][0]
    assert not (tmp_path / "out" / "model.onnx").exists()
    status, data = export(small_weights, tmp_path / "out", "--force-precision")
    assert status == 0 and data["accepted"] and not data["reasons"]
    assert "forced: logits of model.onnx differ" in " ".join(data["notices"])
    assert "caution  forced: logits of model.onnx differ" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--precision", "int8", "--calibrator", "entropie"], "did you mean entropy? accepted are entropy"),
        (["--precision", "int8", "--calibration-images", "0"], "'0' is not a number above 0"),
        (["--precision", "int8", "--int8-rest", "bf16"], "accepted are fp16, fp32"),
        (["--precision", "int8", "--keep-fp32", "stage1"], "--quant-keep names layers that stay float"),
        (["--precision", "fp16", "--calibrator", "minmax"], "--calibrator is about --precision int8 or fp8"),
        (["--calibration", "pictures"], "--calibration is about --precision int8 or fp8"),
    ],
)
def test_mistakes_in_flags(capsys: Any, arguments: list[str], message: str) -> None:
    assert message in mistake(capsys, "--ckpt", "x", *arguments)


def test_pictures_and_layers_that_are_not_there(capsys: Any, small_weights: Path, tmp_path: Path) -> None:
    good = ["--ckpt", str(small_weights), "--out", str(tmp_path / "out"), *SMALL, *INT8]
    (tmp_path / "empty").mkdir()
    said = mistake(capsys, *good, "--calibration", str(tmp_path / "empty"))
    assert "--calibration" in said and "holds no pictures" in said
    assert "no such folder" in mistake(capsys, *good, "--calibration", str(tmp_path / "none"))
    assert not (tmp_path / "out").exists()


def test_a_folder_of_pictures(small_weights: Path, tmp_path: Path) -> None:
    pil = pytest.importorskip("PIL.Image")
    from export.load import load_source
    from export.quantize.work import calibration_images

    rng = np.random.default_rng(0)
    for index in range(3):
        pil.fromarray(rng.integers(0, 255, (40, 60, 3), np.uint8)).save(tmp_path / f"{index}.png")
    request = QuantiseRequest(calibration=tmp_path, images=2)
    images, notice = calibration_images(request, load_source(str(small_weights)), (32, 32), 8, 0)
    assert len(images) == 2 and notice is None and str(tmp_path) in images.source


def test_held_out_images_that_the_gate_does_not_use(small_weights: Path, tmp_path: Path) -> None:
    from export.load import load_source
    from export.quantize.work import calibration_images

    pixels = np.arange(6, dtype=np.uint8)[:, None, None, None].repeat(32, 1).repeat(32, 2).repeat(3, 3)
    np.savez(tmp_path / "gate.npz", images=pixels)
    source = dataclasses.replace(load_source(str(small_weights)), gate_file=tmp_path / "gate.npz")
    images, notice = calibration_images(QuantiseRequest(), source, (32, 32), 4, 0)
    assert images.pixels[:, 0, 0, 0].tolist() == [4, 5] and notice is not None
    images, notice = calibration_images(QuantiseRequest(), source, (32, 32), 6, 0)
    assert len(images) == 6 and notice is not None and "the gate's own 6 images" in notice


# --- the verdict in words ------------------------------------------------------------------------------

BARE = verdict.QuantiseVerdict("int8", "entropy", "fp16", ("a",), {}, 1, 8, "pictures", 100, 200)


@pytest.mark.parametrize(
    ("jax", "file", "images", "refused"),
    [
        (0.95, 0.941, 1000, False),
        (0.95, 0.939, 1000, True),
        (1.0, 63 / 64, 64, False),
        (1.0, 62 / 64, 64, True),
    ],
)
def test_a_point_of_accuracy_is_the_limit(jax: float, file: float, images: int, refused: bool) -> None:
    """On 64 images one wrong answer is 1.6 points, and forgiven."""
    seen = Agreement(images, "held out", 0.99, jax, file)
    found = dataclasses.replace(BARE, **verdict.accuracy(seen))
    assert found.labelled and bool(found.reasons()) == refused
    unlabelled = dataclasses.replace(BARE, **verdict.accuracy(Agreement(images, "x", file / jax, None, None)))
    assert "agreement with JAX" in unlabelled.line()


def test_slower_is_refused_where_it_was_measured() -> None:
    slow = dataclasses.replace(BARE, cpu_ratio=1.3)
    assert not slow.reasons(), "the CPU is not what the file is for"
    assert "1.30 times as long as float32" in dataclasses.replace(slow, deployed_on_cpu=True).reasons()[0]
    assert "the int8 engine takes 1.20 times" in dataclasses.replace(BARE, gpu_ratio=1.2).reasons()[0]
    more = dataclasses.replace(BARE, kernels=9, kernels_float=5, narrow_kernels=7)
    assert not more.reasons() and "int8 has 9 kernels, fp16 has 5" in more.cautions()[1]
    assert len(dataclasses.replace(more, gpu_ratio=0.8).cautions()) == 1, "measured, so not guessed"
    assert "WeightBiasQuantization" in BARE.cautions()[0]
    assert not dataclasses.replace(BARE, rest="fp32", kernels=5, kernels_float=5).cautions()


def test_an_engine_without_int8_is_told() -> None:
    kernels = [Kernel("conv", "correlation", ("Half",)), Kernel("round", "kgen", ("Int8",))]
    assert wrong_precision(kernels, "int8", 1.0) == []
    assert wrong_precision(kernels[:1], "int8", 1.0) == [
        "the engine is not in int8: none of 1 kernels writes it"
    ]


def test_engines_are_compared_in_turns() -> None:
    """The int8 engine first, then the float one, twice; each session is closed again."""
    opened: list[Any] = []

    class Session:
        def __init__(self, milliseconds: float) -> None:
            self.milliseconds, self.closed = milliseconds, False
            opened.append(self)

        def latency(self, images: np.ndarray) -> Any:
            return SimpleNamespace(median_ms=self.milliseconds)

        def close(self) -> None:
            self.closed = True

    times = {b"int8": 3.0, b"float": 2.0}
    runtime = SimpleNamespace(
        build=lambda model, options: Built("fake", model, b"engine", 0.1, kernels=(Kernel("one", "kgen"),)),
        open=lambda built, cuda_graph: Session(times[built.model]),
    )
    request = flags.parse("to_trt", ["--ckpt", "x", "--precision", "int8"])
    done = Quantised(b"int8", b"float", ("a",), {}, 1, 8, "pictures", 1.0)
    built = runtime.build(b"int8", None)
    choice, images = SimpleNamespace(runtime=runtime), np.zeros((8, 3, 4, 4), np.float32)
    trial = Trial(ran=True)
    settled = SimpleNamespace(done=done, agreement=None, searched=None)
    _, found = stage.judge(request, settled, choice, built, trial, images, lambda: b"")  # type: ignore[arg-type]
    assert found.gpu_ratio == 1.5 and (found.kernels, found.kernels_float) == (1, 1)
    assert [session.milliseconds for session in opened] == [3.0, 2.0, 3.0, 2.0]
    assert all(session.closed for session in opened) and "1.50 times" in found.reasons()[0]


def test_speed_is_the_median_of_pairs() -> None:
    now = [0.0]

    def takes(seconds: float) -> Any:
        return lambda: now.__setitem__(0, now[0] + seconds)

    assert speed.ratio(takes(3.0), takes(2.0), budget_seconds=1e9, clock=lambda: now[0]) == 1.5


def test_the_rest_is_float32_for_onnx_runtime() -> None:
    for runtime, rest in (("onnxruntime", "fp32"), ("auto", "fp16")):
        request = flags.parse("to_trt", ["--ckpt", "x", "--precision", "int8", "--runtime", runtime])
        assert request.quantise is not None and request.quantise.rest == rest
    assert flags.parse("to_onnx", ["--ckpt", "x"]).quantise is None
