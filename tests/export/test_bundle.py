"""The bundle: what an export writes, and the engine that is built from it alone."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import bundles
import numpy as np
import pytest
from played_engine import Runtime, Session, play

from export import parity, runtimes, to_onnx, to_trt
from export._optional import available
from export.answers import DEPLOY_FORM
from export.batch import BatchRange
from export.bundle import FILES, triton
from export.bundle.preprocess import describe
from export.bundle.read import read_bundle
from export.bundle.trtexec import command_lines
from export.runtimes import Built, Choice
from export.runtimes.onnxruntime import OnnxSession

needs_rtx = pytest.mark.skipif(
    not available("tensorrt_rtx_bindings"), reason="TensorRT for RTX is not installed: hvjax[tensorrt-rtx]"
)
#: float32 sums of one network in another order, as `parity.FP32_LIMIT`.
SAME = parity.FP32_LIMIT


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


@pytest.fixture(scope="module")
def exported(small_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "small"
    given = ["--ckpt", str(small_weights), "--out", str(out), "--via", "stablehlo", "--image-size", "32"]
    assert to_onnx.main([*given, "--batch", "1:2:4", "--gate-images", "4"]) == 0
    return out


# --- what an export writes ----------------------------------------------------------------------------


def test_an_export_is_a_bundle(exported: Path, small_weights: Path) -> None:
    assert set(FILES) | {"manifest.json"} <= names(exported)
    manifest = json.loads((exported / "manifest.json").read_text())
    assert set(manifest["files"]) == set(FILES)
    for name, listed in manifest["files"].items():
        content = (exported / name).read_bytes()
        assert listed == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert manifest["format"] == 1 and manifest["model"]["precision"] == "fp32"
    assert manifest["model"]["batch"] == {"minimum": 1, "typical": 2, "maximum": 4}
    assert {"hvjax", "jax", "onnx", "python"} <= set(manifest["versions"])
    assert manifest["checkpoint"] == str(small_weights)
    assert (
        manifest["report"]["proof"]["checkpoint"]["sha256"]
        == hashlib.sha256(small_weights.read_bytes()).hexdigest()
    )
    assert json.loads((exported / "labels.json").read_text())[6] == "class 6"


def test_the_gate_holds_inputs_answers_and_tolerances(exported: Path, small_model: Any) -> None:
    """The answers are those of the training form too: JAX is asked again, not the bundle."""
    import jax

    with np.load(exported / "gate.npz", allow_pickle=False) as gate:
        held = {key: gate[key] for key in gate.files}
    assert held["input.images"].shape == (4, 3, 32, 32) and held["input.images"].dtype == np.float32
    assert float(held["tolerance.onnx"]) == parity.ONNX_LIMITS["fp32"] and bool(held["exact_top1"])
    assert float(held["tolerance.engine"]) == parity.ENGINE_LIMITS["fp32"]
    assert float(held["tolerance.engine_tf32"]) == parity.ENGINE_TF32_LIMIT
    model, variables = small_model
    wanted = np.asarray(jax.jit(model.apply)(variables, held["input.images"].transpose(0, 2, 3, 1)))
    assert parity.difference(held["output.logits"], wanted).relative <= SAME
    answers = OnnxSession((exported / "model.onnx").read_bytes()).run(held["input.images"])["logits"]
    assert parity.difference(answers, held["output.logits"]).relative <= SAME


def follow(rules: dict[str, Any], path: Path) -> np.ndarray:
    """An image as preprocess.json says, with Pillow and NumPy alone."""
    from PIL import Image, ImageOps

    picture = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    tall, wide = rules["resize"]["short_side"]
    scale = max(tall / picture.height, wide / picture.width)
    whole = int if rules["resize"]["rounding"] == "down" else round
    height, width = rules["crop"]["size"]
    sides = [
        max(whole(side * scale), least) for side, least in ((picture.height, tall), (picture.width, wide))
    ]
    how = Image.Resampling[rules["resize"]["interpolation"].upper()]
    picture = picture.resize((sides[1], sides[0]), how)
    top, left = round((sides[0] - height) / 2), round((sides[1] - width) / 2)
    pixels = np.asarray(picture.crop((left, top, left + width, top + height)))
    order = ["RGB".index(letter) for letter in rules["channel_order"]]
    values = pixels[..., order].astype(np.float32) / np.float32(255)
    values = (values - np.float32(rules["mean"])) / np.float32(rules["std"])
    values = values.transpose(2, 0, 1) if rules["input"]["layout"] == "nchw" else values
    return values.astype(rules["input"]["dtype"])[None]


@pytest.mark.parametrize("size", [(32, 32), (32, 48)])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_whoever_follows_preprocess_json_has_the_same_input(
    exported: Path, tmp_path: Path, size: tuple[int, int], layout: str
) -> None:
    from hvjax import preprocessing

    pil = pytest.importorskip("PIL.Image")
    file = tmp_path / "picture.png"
    pil.fromarray(np.random.default_rng(0).integers(0, 255, (57, 91, 3), np.uint8)).save(file)
    rules = json.loads((exported / "preprocess.json").read_text())
    assert rules["input"] == {
        "name": "images", "dtype": "float32", "layout": "nchw", "shape": ["batch", 3, 32, 32],
    }  # fmt: skip
    model = {
        "image_size": list(size),
        "mean": rules["mean"],
        "std": rules["std"],
        "input_layout": layout,
        "input_shape": [],
    }
    crop, how = rules["crop"]["crop_pct"], rules["resize"]["interpolation"]
    described = describe(model, crop_pct=crop, interpolation=how, name="images", dtype="float32", channels=3)
    if (size, layout) == ((32, 32), "nchw"):
        described["input"], rules["input"] = {}, dict(rules["input"])
        assert {**described, "input": rules["input"]} == rules, "the file is what describe() says"
        described = rules
    pixels = preprocessing.resize_and_crop(file, size, crop, how)
    wanted = preprocessing.normalise(pixels, rules["mean"], rules["std"])
    wanted = wanted.transpose(2, 0, 1) if layout == "nchw" else wanted
    np.testing.assert_array_equal(follow(described, file), wanted[None])


def test_the_command_lines_of_nvidias_tools() -> None:
    dynamic = command_lines("images", (3, 8, 8), BatchRange(1, 8, 32))
    ten, eleven, rtx = re.findall(r"^(?:trtexec|tensorrt_rtx) .*$", dynamic, re.MULTILINE)
    shapes = "--minShapes=images:1x3x8x8 --optShapes=images:8x3x8x8 --maxShapes=images:32x3x8x8"
    assert ten == f"trtexec --onnx=model.onnx --saveEngine=model.engine --noTF32 {shapes} --stronglyTyped"
    assert eleven == f"trtexec --onnx=model.onnx --saveEngine=model.engine --noTF32 {shapes}"
    assert rtx == f"tensorrt_rtx --onnx=model.onnx --saveEngine=model.engine {shapes}"
    assert "Shapes" not in command_lines("images", (3, 8, 8), BatchRange(8, 8, 8))


@pytest.mark.parametrize(
    ("batch", "maximum", "dims", "gathers"),
    [
        ((1, 8, 32), 32, "3, 8, 8", True),
        ((8, 8, 8), 0, "8, 3, 8, 8", False),
        ((2, 4, 8), 0, "-1, 3, 8, 8", False),
    ],
)
def test_the_configuration_for_triton(
    batch: tuple[int, int, int], maximum: int, dims: str, gathers: bool
) -> None:
    """Triton sends batches of 1 to `max_batch_size` and leaves the batch out of the dims."""
    inputs = ("images", (3, 8, 8), np.dtype(np.float32))
    outputs = ("logits", (5,), np.dtype(np.float16))
    text = triton.config("tiny", "tensorrt_plan", BatchRange(*batch), inputs, outputs)
    assert f"max_batch_size: {maximum}\n" in text and f"dims: [ {dims} ]" in text
    assert ("dynamic_batching { }" in text) == gathers
    assert 'platform: "tensorrt_plan"\ndefault_model_filename: "model.engine"' in text
    assert "data_type: TYPE_FP32" in text and "data_type: TYPE_FP16" in text
    assert text.count("[") == text.count("]") and text.count("{") == text.count("}")


def test_triton_does_not_optimise_what_that_would_break() -> None:
    tensor = ("images", (3, 8, 8), "float32")
    plain, kept = (
        triton.config("tiny", "onnxruntime_onnx", BatchRange(4, 4, 4), tensor, tensor, optimise=optimise)
        for optimise in (True, False)
    )
    assert kept == plain + "optimization { graph { level: 2 } }\n"


def test_a_training_runs_own_gate_is_never_replaced(small_weights: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "gate.npz").write_bytes(b"held-out images")
    given = ["--ckpt", str(small_weights), "--out", str(tmp_path), "--overwrite", "--via", "stablehlo"]
    assert to_onnx.main(given) == 2
    assert "holds a gate.npz that is of no bundle: choose another --out" in capsys.readouterr().err
    assert names(tmp_path) == {"gate.npz"} and (tmp_path / "gate.npz").read_bytes() == b"held-out images"


# --- building from it ---------------------------------------------------------------------------------


@needs_rtx
def test_an_engine_is_built_from_the_bundle_alone(exported: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "engine"
    assert to_trt.main(["--onnx", str(exported), "--runtime", "tensorrt_rtx", "--out", str(out)]) == 0
    assert names(out) == {"model.engine", "report.json", "report.html"}
    data = json.loads((out / "report.json").read_text())
    assert data["accepted"] and data["engine"]["kernels"] > 5 and data["bundle"]["onnx_run_here"]
    ours = [line for line in data["gate"]["comparisons"] if line["candidate"] == "model.onnx"]
    assert [line["batch"] for line in ours] == [1, 2, 4] and all(line["passed"] for line in ours)
    assert {line["reference"] for line in ours} == {DEPLOY_FORM}
    assert [stage["stage"] for stage in data["gate"]["stages"]][-1] == "logits", "known from the export"
    assert any(layer["modules"] for layer in data["proof"]["layers"])
    assert data["files"]["model.onnx"] == bundles.entry((exported / "model.onnx").read_bytes())
    assert "resnet50" in (out / "report.html").read_text()
    assert capsys.readouterr().out.startswith("accepted: resnet50, fp32, batch 1:2:4, from ")


@needs_rtx
def test_part_of_the_batches(tiny_net: Any, tmp_path: Path, capsys: Any) -> None:
    folder = bundles.write(tiny_net, tmp_path / "b")
    given = ["--onnx", str(folder), "--runtime", "tensorrt_rtx"]
    assert to_trt.main([*given, "--batch", "2:2:3"]) == 0
    data = json.loads((folder / "tensorrt_rtx" / "report.json").read_text())
    assert data["model"]["batch"] == {"minimum": 2, "typical": 2, "maximum": 3}
    assert to_trt.main(given) == 2
    assert "already holds model.engine" in capsys.readouterr().err
    assert to_trt.main([*given, "--overwrite"]) == 0


def test_an_engine_that_runs_is_gated_with_the_bundles_tolerance(
    tiny_net: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    folder = bundles.write(tiny_net, tmp_path / "b")
    play(monkeypatch, (folder / "model.onnx").read_bytes())
    assert to_trt.main(["--onnx", str(folder)]) == 0
    data = json.loads((folder / "tensorrt" / "report.json").read_text())
    lines = [line for line in data["gate"]["comparisons"] if line["candidate"] == "model.engine"]
    assert [line["batch"] for line in lines] == [1, 2, 4] and lines[0]["limit"] == parity.ENGINE_LIMITS[
        "fp32"
    ]
    assert data["engine"]["status"] == "ran, and passed the gate"
    assert [one["where"] for one in data["latency"]] == ["GPU (stand-in)"] * 2
    served = (folder / "tensorrt" / "config.pbtxt").read_text()
    assert 'platform: "tensorrt_plan"' in served and "max_batch_size: 4" in served
    assert "gate     passed: the engine differs from JAX by" in capsys.readouterr().out


def test_an_engine_that_answers_wrongly_is_rejected(
    tiny_net: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    folder = bundles.write(tiny_net, tmp_path / "b")
    play(monkeypatch, tiny_net.make("batch", ops={"stage2.relu": "Abs"}))
    assert to_trt.main(["--onnx", str(folder)]) == 1
    assert names(folder / "tensorrt") == {"rejected"}
    assert "logits of model.engine differ from JAX" in capsys.readouterr().out
    play(monkeypatch, None)
    assert to_trt.main(["--onnx", str(folder), "--overwrite"]) == 1
    assert "the engine does not load here: built for another GPU" in capsys.readouterr().out


def test_triton_serves_the_engine_where_a_tensorrt_engine_was_exported(
    small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Exporter(Runtime):
        def open(self, built: Built, *, cuda_graph: bool = False) -> Session:
            return Session(built.model)

    monkeypatch.setattr(runtimes, "choose", lambda name: Choice(Exporter(None)))
    given = ["--ckpt", str(small_weights), "--out", str(tmp_path / "o"), "--via", "stablehlo"]
    assert to_trt.main([*given, "--image-size", "32", "--batch", "2", "--gate-images", "2"]) == 0
    served = (tmp_path / "o" / "config.pbtxt").read_text()
    assert 'platform: "tensorrt_plan"' in served and "max_batch_size: 0\n" in served
    assert "dims: [ 2, 3, 32, 32 ]" in served
    assert read_bundle(tmp_path / "o").batch == BatchRange(2, 2, 2)


def test_a_file_that_answers_wrongly_builds_nothing(tiny_net: Any, tmp_path: Path, capsys: Any) -> None:
    folder = bundles.write(tiny_net, tmp_path / "b")
    bundles.replace(folder, "model.onnx", tiny_net.make("batch", ops={"stage2.relu": "Abs"}))
    assert to_trt.main(["--onnx", str(folder), "--runtime", "onnxruntime"]) == 1
    said = capsys.readouterr().out
    assert "logits of model.onnx differ from JAX" in said
    assert "model.onnx passed in ONNX Runtime 0.1, and failed in" in said, "another version may be why"
    assert names(folder / "onnxruntime" / "rejected") == {"report.json", "report.html"}


def test_without_onnx_runtime_it_says_what_was_not_checked(
    tiny_net: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from export.bundle import trial

    folder = bundles.write(tiny_net, tmp_path / "b")
    play(monkeypatch, (folder / "model.onnx").read_bytes())
    monkeypatch.setattr(trial, "available", lambda module: module != "onnxruntime")
    assert to_trt.main(["--onnx", str(folder)]) == 0
    assert "onnxruntime is not installed: model.onnx was not run here" in capsys.readouterr().out
    data = json.loads((folder / "tensorrt" / "report.json").read_text())
    assert not data["bundle"]["onnx_run_here"] and len(data["notices"]) == 1


@needs_rtx
def test_a_fixed_batch_in_float16(tiny_net: Any, tmp_path: Path) -> None:
    folder = bundles.write(tiny_net, tmp_path / "b", (4, 4, 4), "fp16")
    bundle = read_bundle(folder / "model.onnx")
    assert bundle.batch == BatchRange(4, 4, 4) and bundle.gate.tolerances["engine"] == {"logits": 2e-3}
    assert to_trt.main(["--onnx", str(folder / "model.onnx"), "--runtime", "tensorrt_rtx"]) == 0
    assert (folder / "tensorrt_rtx" / "model.engine").stat().st_size > 1000
