"""The commands with something at both ends of the file: gate, bundle, and what runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from export import run as run_command
from export import runtimes, to_onnx, to_trt
from export._optional import available
from export.batch import BatchRange
from export.ends import finish, front
from export.ends.compare import expected
from export.ends.spec import Ends
from export.runtimes import BuildOptions
from export.runtimes.onnxruntime import OnnxSession
from hvjax import preprocessing

Image = pytest.importorskip("PIL.Image")
needs_rtx = pytest.mark.skipif(
    not available("tensorrt_rtx_bindings"), reason="TensorRT for RTX is not installed: hvjax[tensorrt-rtx]"
)
SMALL = ["--via", "stablehlo", "--image-size", "32", "--gate-images", "4"]
FULL = ["--preprocess", "full", "--source-size", "60x80"]


def export(weights: Path, out: Path, *flags: str, command: Any = to_onnx) -> int:
    batch = [] if "--batch" in flags else ["--batch", "2"]
    return command.main(["--ckpt", str(weights), "--out", str(out), *SMALL, *batch, *flags])


def report(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "report.json").read_text())


def lines(folder: Path, output: str) -> list[dict[str, Any]]:
    found = report(folder)["gate"]["comparisons"]
    return [line for line in found if line["output"] == output and line["candidate"].startswith("model.onnx")]


@pytest.fixture(scope="module")
def plain(small_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("plain") / "out"
    assert export(small_weights, out) == 0
    return out


@pytest.fixture(scope="module")
def full(small_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """uint8 pictures of any batch up to 4 in, the three likeliest classes out."""
    out = tmp_path_factory.mktemp("full") / "out"
    assert export(small_weights, out, *FULL, "--postprocess", "topk:3", "--batch", "1:2:4") == 0
    return out


def test_the_file_that_ships_was_gated(full: Path) -> None:
    """Once up to its logits, by the limit of logits, and once as it is."""
    assert {line["batch"] for line in lines(full, "probabilities")} == {1, 2, 4}
    assert all(line["passed"] and line["relative"] <= 1e-5 for line in lines(full, "logits"))
    assert all(line["passed"] and line["top1"] == 1 for line in lines(full, "probabilities"))
    stages = {stage["stage"]: stage for stage in report(full)["gate"]["stages"]}
    assert all(stage["present"] and stage["relative"] < 1e-5 for stage in stages.values())


def test_the_report_and_the_file_say_what_they_take(full: Path) -> None:
    model = report(full)["model"]
    assert (model["preprocess"], model["source_size"], model["postprocess"]) == ("full", [60, 80], "topk:3")
    assert model["input_shape"] == ["batch", 60, 80, 3] and model["input_dtype"] == "uint8"
    assert model["image_size"] == [32, 32]
    graph = onnx.load(full / "model.onnx")
    said = {entry.key: entry.value for entry in graph.metadata_props}
    assert (said["preprocess"], said["source_size"], said["postprocess"]) == ("full", "[60, 80]", "topk:3")
    assert said["pixel_range"] == "images are pixels in 0..255, RGB"
    assert "takes uint8 pictures of 60x80" in (full / "report.html").read_text()


def test_the_bundle_says_it_too(full: Path) -> None:
    rules = json.loads((full / "preprocess.json").read_text())
    assert rules["in_graph"] == ["resize", "crop", "normalise"] and rules["source_size"] == [60, 80]
    assert [step.split(":")[0] for step in rules["steps"]] == ["read", "size", "arrange"]
    assert rules["input"] == {
        "name": "images", "dtype": "uint8", "layout": "nhwc", "shape": ["batch", 60, 80, 3],
    }  # fmt: skip
    with np.load(full / "gate.npz") as held:
        assert held["input.images"].dtype == np.uint8 and held["input.images"].shape == (4, 60, 80, 3)
        assert held["output.probabilities"].shape == (4, 7) and held["top"] == 3
    served = (full / "config.pbtxt").read_text()
    assert "TYPE_UINT8" in served and "dims: [ 60, 80, 3 ]" in served
    assert served.count("output [") == 2 and "TYPE_INT64" in served
    assert "--optShapes=images:2x60x80x3" in (full / "trtexec.txt").read_text()
    manifest = json.loads((full / "manifest.json").read_text())
    assert [entry["name"] for entry in manifest["outputs"]] == ["top_probabilities", "top_classes"]


def test_a_bundle_of_it_is_built_and_gated(full: Path, tmp_path: Path, capsys: Any) -> None:
    given = ["--onnx", str(full), "--runtime", "onnxruntime", "--out", str(tmp_path / "built")]
    assert to_trt.main(given) == 0
    shown = capsys.readouterr().out
    assert "takes uint8 pictures of 60x80" in shown and "gate     passed: ONNX Runtime" in shown
    assert {line["output"] for line in report(tmp_path / "built")["gate"]["comparisons"]} >= {"probabilities"}


@pytest.mark.parametrize("size", [(60, 80), (75, 75)])
def test_the_same_top_classes_as_a_plain_file(
    plain: Path, full: Path, tmp_path: Path, capsys: Any, size: tuple[int, int]
) -> None:
    """On a picture of the size that the file takes; any other is brought to it, with a notice."""
    file = tmp_path / "picture.png"
    datasets = pytest.importorskip("sklearn.datasets")
    Image.fromarray(datasets.load_sample_images().images[0][: size[0], : size[1]]).save(file)
    shown = []
    for folder in (plain, full):
        given = ["--onnx", str(folder), "--image", str(file), "--top", "3", "--out", str(tmp_path)]
        assert run_command.main(given) == 0
        shown.append(capsys.readouterr())
    classes, others = (answer.out.splitlines()[:-1] for answer in shown)  # the last names a picture of each
    assert len(classes) == 4
    fits = size == (60, 80)
    assert (classes == others) == fits
    assert ("picture.png has 75x75 pixels" in shown[1].err) == (not fits)


def test_the_metadata_alone_will_do(full: Path, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes((full / "model.onnx").read_bytes())
    Image.fromarray(np.zeros((60, 80, 3), np.uint8)).save(tmp_path / "black.png")
    given = ["--onnx", str(tmp_path), "--image", str(tmp_path / "black.png"), "--out", str(tmp_path)]
    assert run_command.main(given) == 0


@pytest.mark.parametrize(
    ("flags", "outputs"),
    [
        (["--precision", "bf16", *FULL, "--postprocess", "softmax"], {"probabilities"}),
        (["--precision", "fp16", "--preprocess", "normalise", "--batch", "1:2:3"], {"logits"}),
        (
            ["--precision", "int8", "--calibration-images", "4", *FULL, "--postprocess", "topk:2"],
            {"top_probabilities", "top_classes"},
        ),
        (
            ["--preprocess", "normalise", "--input-layout", "nchw", "--postprocess", "softmax"],
            {"probabilities"},
        ),
    ],
    ids=["bf16", "fp16", "int8", "nchw"],
)
def test_every_precision(small_weights: Path, tmp_path: Path, flags: list[str], outputs: set[str]) -> None:
    out = tmp_path / "out"
    assert export(small_weights, out, *flags) == 0
    graph = onnx.load(out / "model.onnx").graph
    (entry,) = graph.input
    assert entry.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert {value.name for value in graph.output} == outputs
    compared = lines(out, "logits" if outputs == {"logits"} else "probabilities")
    assert compared and all(line["passed"] for line in compared)
    narrow = {node.input[1] for node in graph.node if node.op_type == "MatMul"}
    assert narrow == ({"preprocess.columns", "preprocess.rows"} if "full" in flags else set())


def test_the_network_s_own_pictures_are_those_of_pillow(plain: Path, full: Path) -> None:
    """The plain file on pictures that hvjax.preprocessing prepared, and this one on the pictures."""
    with np.load(full / "gate.npz") as held:
        pictures = held["input.images"]
    said = {entry.key: entry.value for entry in onnx.load(full / "model.onnx").metadata_props}
    crop, how = float(said["crop_pct"]), said["interpolation"]
    pixels = np.stack([preprocessing.resize_and_crop(picture, 32, crop, how) for picture in pictures[:2]])
    inputs = preprocessing.normalise(pixels, json.loads(said["mean"]), json.loads(said["std"]))
    logits = OnnxSession((plain / "model.onnx").read_bytes()).run(
        np.ascontiguousarray(inputs.transpose(0, 3, 1, 2))
    )["logits"]
    chances = expected(Ends(postprocess="softmax"), logits)
    top = OnnxSession((full / "model.onnx").read_bytes()).run(pictures[:2])
    np.testing.assert_array_equal(top["top_classes"], np.argsort(-chances, axis=1)[:, :3])
    # two float32 evaluations of one network
    wanted = np.take_along_axis(chances, top["top_classes"], 1)
    np.testing.assert_allclose(top["top_probabilities"], wanted, rtol=0, atol=2e-5)


def test_a_wrong_mean_is_caught(
    small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    right = front.front

    def shifted(*arguments: Any, mean: Any, **options: Any) -> Any:
        return right(*arguments, mean=[value + 1 / 255 for value in mean], **options)

    monkeypatch.setattr("export.graph.front", shifted)
    assert export(small_weights, tmp_path / "out", "--preprocess", "normalise") == 1
    assert "logits of model.onnx differ from JAX" in capsys.readouterr().out


def test_a_wrong_tail_is_caught(
    small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """The file is right up to its logits; only the gate of the whole sees it."""
    right = finish.attach

    def smallest(model: bytes, ends: Ends) -> bytes:
        made = onnx.load_model_from_string(right(model, ends))
        top = next(node for node in made.graph.node if node.op_type == "TopK")
        top.attribute.append(onnx.helper.make_attribute("largest", 0))
        return made.SerializeToString()

    monkeypatch.setattr(finish, "attach", smallest)
    assert export(small_weights, tmp_path / "out", "--postprocess", "topk:2") == 1
    assert "probabilities of model.onnx differ from JAX" in capsys.readouterr().out
    assert not (tmp_path / "out" / "model.onnx").exists()


def test_too_many_classes(small_weights: Path, tmp_path: Path, capsys: Any) -> None:
    assert export(small_weights, tmp_path / "out", "--postprocess", "topk:8") == 2
    assert capsys.readouterr().err.endswith("--postprocess topk:8: resnet50 has 7 classes\n")


@needs_rtx
@pytest.mark.parametrize(
    ("flags", "more"),
    [
        (["--preprocess", "normalise"], 0),  # it rides on the kernel that arranges the pictures
        (["--preprocess", "normalise", "--postprocess", "softmax"], 0),
        # two products, and rounding behind each; the first kernel turns pixels to float32
        ([*FULL], 4),
        ([*FULL, "--postprocess", "topk:3"], 5),
    ],
)
def test_kernels(plain: Path, small_weights: Path, tmp_path: Path, flags: list[str], more: int) -> None:
    assert export(small_weights, tmp_path / "out", *flags) == 0
    builder = runtimes.make("tensorrt_rtx")
    counts = []
    for folder in (plain, tmp_path / "out"):
        options = BuildOptions(BatchRange(2, 2, 2))
        counts.append(len(builder.build((folder / "model.onnx").read_bytes(), options).kernels or ()))
    assert counts[0] > 10 and counts[1] - counts[0] <= more
