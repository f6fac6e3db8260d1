"""The two commands from end to end on a small model, and every mistake a user can make with them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from export import flags, graph, to_onnx, to_trt
from export._optional import available
from export.bundle import FILES, MANIFEST
from export.runtimes.onnxruntime import OnnxSession

SMALL = ["--via", "stablehlo", "--image-size", "32", "--batch", "4", "--gate-images", "8"]
#: What every accepted export holds: the bundle and the report.
EXPORT = {*FILES, MANIFEST, "report.json", "report.html", "report.png"}
needs_rtx = pytest.mark.skipif(
    not available("tensorrt_rtx_bindings"), reason="TensorRT for RTX is not installed: hvjax[tensorrt-rtx]"
)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


@pytest.fixture(scope="module")
def exported(small_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "small"
    assert (
        to_trt.main(["--ckpt", str(small_weights), "--out", str(out), "--runtime", "tensorrt_rtx", *SMALL])
        == 0
    )
    return out


@needs_rtx
def test_an_export_writes_everything(exported: Path) -> None:
    assert names(exported) == EXPORT | {"model.engine"}
    assert (exported / "model.engine").stat().st_size > 10_000


@needs_rtx
def test_the_report_tells_what_happened(exported: Path) -> None:
    data = json.loads((exported / "report.json").read_text())
    assert data["accepted"] and data["gate"]["passed"] and data["reasons"] == []
    assert data["engine"]["runtime"] == "tensorrt_rtx" and data["engine"]["kernels"] > 5
    pairs = [(line["candidate"], line["reference"]) for line in data["gate"]["comparisons"]]
    training, deploy = "JAX, training form, float32", "JAX, deploy form, float32"
    assert pairs[:3] == [(deploy, training), ("model.onnx", training), ("model.onnx", deploy)]
    assert all(line["passed"] for line in data["gate"]["comparisons"])
    stages = {stage["stage"]: stage for stage in data["gate"]["stages"]}
    assert list(stages) == ["stem", "stage1", "stage2", "stage3", "stage4", "pre_logits", "logits"]
    assert all(stage["present"] and stage["relative"] < 1e-5 for stage in stages.values())
    assert data["graph"]["operators"]["Conv"] == 17 and "BatchNormalization" not in data["graph"]["operators"]
    assert set(data["files"]) == {"model.onnx", "model.engine"} and len(data["latency"]) == 1
    assert data["model"]["input_shape"] == [4, 3, 32, 32] and data["model"]["class_names"][0] == "class 0"


@needs_rtx
def test_the_proof_sheet(exported: Path, small_weights: Path) -> None:
    data = json.loads((exported / "report.json").read_text())
    proof = data["proof"]
    assert proof["checkpoint"]["sha256"] == hashlib.sha256(small_weights.read_bytes()).hexdigest()
    engine = (exported / "model.engine").read_bytes()
    assert data["files"]["model.engine"]["sha256"] == hashlib.sha256(engine).hexdigest()
    assert len(proof["layers"]) == data["engine"]["kernels"] and proof["attribution"]["share"] > 0.9
    modules = {module for layer in proof["layers"] for module in layer["modules"]}
    assert {"stem/conv", "stage2/block1/conv2", "stage4/block1/shortcut/conv", "head"} <= modules
    assert proof["precisions"] == {"Float": data["engine"]["kernels"]} and proof["validation"] is None
    assert f"All {len(proof['layers'])} layers" in (exported / "report.html").read_text()


@needs_rtx
def test_the_file_says_how_to_feed_it(exported: Path) -> None:
    model = onnx.load(exported / "model.onnx")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata["model"] == "resnet50" and json.loads(metadata["class_names"])[6] == "class 6"
    assert len(json.loads(metadata["mean"])) == 3
    session = OnnxSession((exported / "model.onnx").read_bytes())
    assert session.run(np.zeros((4, 3, 32, 32), np.float32))["logits"].shape == (4, 7)


def test_to_onnx_in_float16_with_a_dynamic_batch(small_weights: Path, tmp_path: Path, capsys: Any) -> None:
    arguments = ["--ckpt", str(small_weights), "--out", str(tmp_path / "out"), *SMALL]
    arguments += ["--precision", "fp16", "--batch", "1:3:8", "--input-layout", "nhwc"]
    assert to_onnx.main(arguments) == 0
    assert names(tmp_path / "out") == EXPORT
    data = json.loads((tmp_path / "out" / "report.json").read_text())
    lines = [line for line in data["gate"]["comparisons"] if line["candidate"] == "model.onnx"]
    assert {line["batch"] for line in lines} == {1, 3, 8}
    assert all(1e-5 < line["relative"] <= 2e-3 for line in lines), "float16 is coarser than float32"
    assert "FLOAT16" in data["graph"]["parameter_types"]  # tests/export/precision says what stays float32
    session = OnnxSession((tmp_path / "out" / "model.onnx").read_bytes())
    for batch in (1, 2, 8):
        answer = session.run(np.zeros((batch, 32, 32, 3), np.float32))["logits"]
        assert answer.shape == (batch, 7) and answer.dtype == np.float32
    shown = capsys.readouterr().out
    assert shown.startswith("accepted: resnet50, fp16, batch 1:3:8, 32x32") and "gate     passed" in shown


def test_a_wrong_weight_is_caught_and_its_stage_is_named(
    small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Exit status 1, nothing to deploy, and the reason: as if the converter had spoilt one tensor."""
    convert = graph.to_onnx_bytes

    def spoilt(*arguments: Any) -> bytes:
        model = onnx.load_model_from_string(convert(*arguments))
        victim = next(t for t in model.graph.initializer if "stage3" in t.name and len(t.dims) == 4)
        weights = onnx.numpy_helper.to_array(victim) * np.float32(1.02)
        victim.CopyFrom(onnx.numpy_helper.from_array(weights, victim.name))
        return model.SerializeToString()

    monkeypatch.setattr(graph, "to_onnx_bytes", spoilt)
    out = tmp_path / "out"
    assert to_onnx.main(["--ckpt", str(small_weights), "--out", str(out), *SMALL]) == 1
    assert names(out) == {"rejected"}
    data = json.loads((out / "rejected" / "report.json").read_text())
    assert not data["accepted"] and data["gate"]["begins_at"] == "stage3"
    shown = capsys.readouterr().out
    assert shown.startswith("REJECTED") and "the error begins at stage3" in shown
    assert "logits of model.onnx differ from JAX, training form, float32 by" in shown
    assert "The error begins at stage3" in (out / "rejected" / "report.html").read_text()


def test_an_image_size_of_ones_own_and_a_folder_of_images(
    small_weights: Path, tmp_path: Path, capsys: Any
) -> None:
    pil = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    for index in range(2):
        pil.fromarray(rng.integers(0, 255, (40, 60, 3), np.uint8)).save(
            tmp_path / "pictures" / f"{index}.png"
        )
    arguments = ["--ckpt", str(small_weights), "--images", str(tmp_path / "pictures"), *SMALL]
    assert to_onnx.main([*arguments, "--image-size", "32x64", "--out", str(tmp_path / "out")]) == 0
    data = json.loads((tmp_path / "out" / "report.json").read_text())
    assert data["model"]["image_size"] == [32, 64] and "pictures" in data["gate"]["images"]["source"]
    assert "repeated to fill a batch of 4" in data["gate"]["images"]["source"]


# --- mistakes: one line, exit status 2 ----------------------------------------------------------------


def mistake(capsys: Any, run: Any, *arguments: str) -> str:
    assert run.main(list(arguments)) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1, captured.err
    return captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--ckpt is needed"),
        (["--ckpt", "next_vit_z"], "did you mean next_vit_"),
        (["--ckpt", "resnet50"], "add --random-weights"),
        (["--ckpt", "missing/run"], "no such file or folder"),
        (["--chkpt", "resnet50"], "unknown flag --chkpt; did you mean --ckpt"),
        (["resnet50"], "the model is given with --ckpt"),
        (["--ckpt"], "expected one argument"),
        (
            ["--ckpt", "x", "--precision", "int4"],
            "comes in a later version; this one takes fp32 or fp16",
        ),
        (["--ckpt", "x", "--keep-fp32", "stage1"], "--keep-fp32 is about half precision"),
        (["--ckpt", "x", "--precision", "fp61"], "did you mean fp16?"),
        (["--ckpt", "x", "--batch", "8:1"], "neither a number"),
        (["--ckpt", "x", "--image-size", "big"], "neither a size"),
        (["--ckpt", "x", "--via", "tf2jax"], "did you mean jax2tf? accepted are jax2tf, stablehlo"),
        (["--ckpt", "x", "--input-layout", "nhcw"], "accepted are nchw, nhwc"),
        (["--ckpt", "x", "--gate-images", "0"], "not a number above 0"),
        (["--ckpt", "x", "--which", "first"], "invalid choice"),
    ],
)
def test_mistakes_in_flags(capsys: Any, arguments: list[str], message: str) -> None:
    assert message in mistake(capsys, to_trt, *arguments)


def test_mistakes_about_runtimes(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "tensorrt", None)
        said = mistake(capsys, to_trt, "--ckpt", "resnet50", "--runtime", "tensorrt")
        assert "pip install 'hvjax[tensorrt]'" in said
    said = mistake(capsys, to_trt, "--ckpt", "x", "--runtime", "tensorrt_rtxx")
    assert "did you mean tensorrt_rtx?" in said
    said = mistake(capsys, to_trt, "--ckpt", "x", "--runtime", "onnxruntime", "--require-engine-run")
    assert "builds none" in said
    assert "unknown flag --runtime" in mistake(capsys, to_onnx, "--ckpt", "x", "--runtime", "auto")


def test_an_existing_engine_is_not_replaced_in_silence(
    capsys: Any, small_weights: Path, tmp_path: Path
) -> None:
    (tmp_path / "model.engine").write_bytes(b"precious")
    said = mistake(capsys, to_onnx, "--ckpt", str(small_weights), "--out", str(tmp_path), *SMALL)
    assert "already holds model.engine: add --overwrite" in said
    assert (tmp_path / "model.engine").read_bytes() == b"precious" and names(tmp_path) == {"model.engine"}


def test_overwriting_leaves_no_engine_of_another_model(small_weights: Path, tmp_path: Path) -> None:
    (tmp_path / "model.engine").write_bytes(b"of an earlier model")
    (tmp_path / "notes.txt").write_text("the user's own")
    assert to_onnx.main(["--ckpt", str(small_weights), "--out", str(tmp_path), "--overwrite", *SMALL]) == 0
    assert "model.engine" not in names(tmp_path) and "notes.txt" in names(tmp_path)


def test_out_that_is_a_file(capsys: Any, small_weights: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    said = mistake(capsys, to_onnx, "--ckpt", str(small_weights), "--out", str(tmp_path / "taken"), *SMALL)
    assert "--out" in said


def test_weights_and_images_that_cannot_be_read(capsys: Any, small_weights: Path, tmp_path: Path) -> None:
    broken = tmp_path / "cut.safetensors"
    broken.write_bytes(small_weights.read_bytes()[:1000])
    assert "cut.safetensors" in mistake(capsys, to_onnx, "--ckpt", str(broken))
    good = ["--ckpt", str(small_weights), "--out", str(tmp_path / "out"), *SMALL]
    assert "no such folder" in mistake(capsys, to_onnx, *good, "--images", str(tmp_path / "none"))
    assert names(tmp_path) == {"cut.safetensors"}, "the folder made for nothing is gone again"


def test_random_weights_are_for_names_only(capsys: Any, small_weights: Path) -> None:
    assert "has weights" in mistake(capsys, to_onnx, "--ckpt", str(small_weights), "--random-weights")


def test_a_size_the_model_cannot_take(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from hvjax.models.resnet import ResNet

    def refuse(self: Any, images: Any, *, train: bool = False) -> Any:
        raise ValueError(f"images of {images.shape[1]} pixels; nearest possible 32")

    monkeypatch.setattr(ResNet, "features", refuse)
    said = mistake(capsys, to_onnx, "--ckpt", "resnet50", "--random-weights", "--image-size", "33")
    assert "resnet50 cannot take it: images of 33 pixels; nearest possible 32" in said


def test_a_conversion_that_fails_is_status_1(
    capsys: Any, small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> bytes:
        raise ValueError("stablehlo.foo has no ONNX form")

    monkeypatch.setattr(graph, "to_onnx_bytes", fail)
    assert to_onnx.main(["--ckpt", str(small_weights), "--out", str(tmp_path / "out"), *SMALL]) == 1
    assert "could not be converted to ONNX: stablehlo.foo has no ONNX form" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@needs_rtx
def test_require_engine_run_fails_where_there_is_no_gpu(
    small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from export.runtimes import cuda

    monkeypatch.setattr(cuda, "why_no_gpu", lambda api=None: "no NVIDIA GPU (pretended)")
    arguments = ["--ckpt", str(small_weights), "--out", str(tmp_path / "out"), *SMALL]
    arguments += ["--runtime", "tensorrt_rtx", "--require-engine-run"]
    assert to_trt.main(arguments) == 1
    assert "--require-engine-run: no NVIDIA GPU (pretended)" in capsys.readouterr().out
    assert names(tmp_path / "out") == {"rejected"}


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_export_leaves_nothing(
    small_weights: Path, tmp_path: Path, repository: Path, signum: int, status: int
) -> None:
    """A real process, interrupted while it works: its status, and not one file."""
    out = tmp_path / "out"
    arguments = ["--ckpt", str(small_weights), "--out", str(out), *SMALL]
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    process = subprocess.Popen(
        [sys.executable, "-m", "export.to_onnx", *arguments],
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
    )

    def at_work() -> bool:
        return out.exists() and any(name.startswith(".partial-") for name in names(out))

    deadline = time.monotonic() + 120
    while not at_work() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signum)
    _, said = process.communicate(timeout=120)
    assert process.returncode == status, said
    assert b"interrupted; nothing was written" in said
    assert names(tmp_path) == set()


def test_an_interrupt_that_python_drops_still_ends_the_export(
    small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """In a destructor or an import lock Python prints the exception and goes on."""
    convert = graph.to_onnx_bytes

    def interrupted(*arguments: Any) -> bytes:
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        return convert(*arguments)

    monkeypatch.setattr(graph, "to_onnx_bytes", interrupted)
    assert to_onnx.main(["--ckpt", str(small_weights), "--out", str(tmp_path / "out"), *SMALL]) == 130
    assert names(tmp_path) == set() and "interrupted" in capsys.readouterr().err


def test_help_and_defaults(capsys: Any) -> None:
    with pytest.raises(SystemExit) as ended:
        to_trt.main(["--help"])
    assert ended.value.code == 0
    assert "Exit status" in capsys.readouterr().out
    request = flags.parse("to_trt", ["--ckpt", "next_vit_s", "--batch", "1:8:32"])
    assert request.folder("next_vit_s", (224, 224)) == Path("exports/next_vit_s-224x224-fp32-b1-8-32")
    assert (request.via, request.runtime, request.input_layout) == ("jax2tf", "auto", "nchw")
