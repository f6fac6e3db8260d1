"""An exported model on image files: hvjax.preprocess and the graph agree, and a mistake is one line."""

from __future__ import annotations

import io
import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from export import run, run_picture, runtimes
from export.recipe import Recipe
from export.runtimes import cuda
from export.runtimes.onnxruntime import OnnxSession
from hvjax import preprocessing

Image = pytest.importorskip("PIL.Image")

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
CLASSES = ["cat", "dog", "a $ign", "<bird>", "fish"]
METADATA = {
    "model": "resnet50",
    "input_layout": "nchw",
    "mean": json.dumps(MEAN),
    "std": json.dumps(STD),
    "class_names": json.dumps(CLASSES),
    "crop_pct": "0.5",
    "interpolation": "bilinear",
}
#: Printed percentages have two decimals.
PRINTED = 0.006


def write(folder: Path, model: bytes, metadata: dict[str, str] = METADATA) -> Path:
    loaded = onnx.load_model_from_string(model)
    onnx.helper.set_model_props(loaded, metadata)
    folder.mkdir(exist_ok=True)
    (folder / "model.onnx").write_bytes(loaded.SerializeToString())
    return folder


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    paths = []
    for index in range(3):
        pixels = rng.integers(0, 255, (30, 40 + index, 3), np.uint8) // (index + 1)
        paths.append(tmp_path / f"picture{index}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


@pytest.fixture
def expected(tiny_net: Any, pictures: list[Path]) -> np.ndarray:
    """Chances by the rule of hvjax.preprocess and NumPy."""
    inputs = [
        preprocessing.normalise(preprocessing.resize_and_crop(path, 8, 0.5, "bilinear"), MEAN, STD)
        for path in pictures
    ]
    powers = np.exp(tiny_net.features(np.stack(inputs))["logits"].astype(np.float64))
    return powers / powers.sum(1, keepdims=True)


def answers(shown: str) -> dict[str, list[tuple[str, float]]]:
    found: dict[str, list[tuple[str, float]]] = {}
    for text in shown.splitlines():
        if text.startswith("wrote"):
            continue
        if not text.startswith(" "):
            found[text] = []
        else:
            _, percent, _, label = text.split(maxsplit=3)
            found[list(found)[-1]].append((label, float(percent)))
    return found


def check(shown: str, expected: np.ndarray, names: list[str] = CLASSES, top: int = 5) -> None:
    found = list(answers(shown).values())
    assert len(found) == len(expected)
    for lines, chances in zip(found, expected, strict=True):
        order = np.argsort(-chances)[:top]
        assert [label for label, _ in lines] == [names[k] for k in order]
        assert [percent for _, percent in lines] == pytest.approx(list(100 * chances[order]), abs=PRINTED)


@pytest.mark.parametrize("batch", [1, 2, "batch"])
def test_top_classes_and_the_picture(
    tiny_net: Any, tmp_path: Path, pictures: list[Path], expected: np.ndarray, capsys: Any, batch: Any
) -> None:
    folder = write(tmp_path / "exported", tiny_net.make(batch))
    out = tmp_path / "new" / "out"
    status = run.main(
        ["--onnx", str(folder), "--image", *map(str, pictures), "--out", str(out), "--top", "4"]
    )
    assert status == 0
    shown = capsys.readouterr().out
    check(shown, expected, top=4)
    assert shown.splitlines()[-1] == f"wrote {out / 'predictions.png'}"
    with Image.open(out / "predictions.png") as picture:
        colours = np.asarray(picture.convert("RGB"))
    assert colours.shape[0] > 400 and colours.std() > 20, "a picture with something in it"


def test_no_picture_is_overwritten(tiny_net: Any, tmp_path: Path, pictures: list[Path], capsys: Any) -> None:
    folder = write(tmp_path / "exported", tiny_net.make(1))
    kept = tmp_path / "predictions.png"
    kept.write_bytes(b"mine")
    for number in (2, 3):
        assert run.main(["--onnx", str(folder), "--image", str(pictures[0]), "--out", str(tmp_path)]) == 0
        wrote = tmp_path / f"predictions_{number}.png"
        assert capsys.readouterr().out.splitlines()[-1] == f"wrote {wrote}" and wrote.is_file()
    assert kept.read_bytes() == b"mine"


def test_a_bundle_says_how_to_feed_it(
    tiny_net: Any, tmp_path: Path, pictures: list[Path], expected: np.ndarray, capsys: Any
) -> None:
    """preprocess.json and labels.json come before what the metadata says."""
    folder = write(tmp_path / "bundle", tiny_net.make(4), {"mean": "damaged"})
    said = {
        "resize": {"interpolation": "bilinear"},
        "crop": {"crop_pct": 0.5, "size": [8, 8]},
        "mean": MEAN,
        "std": STD,
        "input": {"layout": "nchw"},
    }
    (folder / "preprocess.json").write_text(json.dumps(said))
    (folder / "labels.json").write_text("null")
    arguments = ["--image", *map(str, pictures), "--out", str(tmp_path)]
    assert run.main(["--onnx", str(folder / "model.onnx"), *arguments]) == 0
    check(capsys.readouterr().out, expected, [f"class {index}" for index in range(5)])


def test_a_name_that_the_terminal_cannot_show(
    tiny_net: Any, tmp_path: Path, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "exported", tiny_net.make(2))
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    image = pictures[0].rename(tmp_path / "\N{GREEK SMALL LETTER PI}.png")
    assert run.main(["--onnx", str(folder), "--image", str(image), "--out", str(tmp_path)]) == 0
    terminal.seek(0)
    assert terminal.readline() == "\\u03c0.png\n"


def test_files_of_an_earlier_version_take_the_crop_of_the_registry(tiny_net: Any, tmp_path: Path) -> None:
    from export.recipe import find_recipe
    from hvjax.registry import get_spec

    said = {key: value for key, value in METADATA.items() if key not in ("crop_pct", "interpolation")}
    recipe, spec = find_recipe(tmp_path, said, (8, 8)), get_spec("resnet50")
    assert (recipe.crop_pct, recipe.interpolation) == (spec.crop_pct, spec.interpolation)


def test_an_engine_where_a_gpu_is(
    tiny_net: Any,
    tmp_path: Path,
    pictures: list[Path],
    expected: np.ndarray,
    capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """ONNX Runtime plays the engine; it is opened with the runtime that the report names."""
    folder = write(tmp_path / "exported", tiny_net.make(2))
    (folder / "model.engine").write_bytes(b"plan")
    (folder / "report.json").write_text(json.dumps({"engine": {"runtime": "tensorrt"}}))

    class Session(OnnxSession):
        input_shape, input_dtype = (2, 3, 8, 8), np.dtype(np.float32)

    def make(name: str) -> Any:
        def open_engine(built: Any) -> Session:
            assert (name, built.engine) == ("tensorrt", b"plan")
            return Session((folder / "model.onnx").read_bytes())

        # without a size in the metadata the recipe comes from the report
        return types.SimpleNamespace(name=name, open=open_engine)

    monkeypatch.setattr(cuda, "why_no_gpu", lambda: None)
    monkeypatch.setattr(runtimes, "make", make)
    arguments = ["--engine", str(folder), "--image", *map(str, pictures), "--out", str(tmp_path)]
    assert run.main(arguments) == 0, capsys.readouterr().err
    check(capsys.readouterr().out, expected)


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_what_the_graph_is_fed(layout: str, tmp_path: Path) -> None:
    recipe = Recipe((4, 6), layout, MEAN, STD, 1.0, "bicubic")
    pixels = np.arange(2 * 4 * 6 * 3, dtype=np.uint8).reshape(2, 4, 6, 3)
    order = (0, 3, 1, 2) if layout == "nchw" else (0, 1, 2, 3)
    raw, floats = (recipe.inputs(pixels, np.dtype(kind)) for kind in ("uint8", "float16"))
    assert np.array_equal(raw, pixels.transpose(order)) and floats.dtype == np.float16
    wanted = preprocessing.normalise(pixels, MEAN, STD).transpose(order).astype(np.float16)
    assert np.array_equal(floats, wanted)


def test_one_channel(pictures: list[Path]) -> None:
    recipe = Recipe((8, 8), "nchw", (0.5,), (0.25,), 1.0, "bicubic")
    assert recipe.pixels(pictures[0]).shape == (8, 8, 1)
    shown = run_picture.draw([run_picture.Prediction("x", recipe.pixels(pictures[0]), (("a", 1.0),))], "t")
    assert shown.startswith(b"\x89PNG")


def mistake(capsys: Any, *arguments: str) -> str:
    assert run.main(list(arguments)) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and captured.out == "", captured
    return captured.err


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:300])


Change = Callable[[Path], Any]
BAD_FILES: dict[str, tuple[Change, str]] = {
    "a corrupt image": (lambda f: (f / "p.png").write_bytes(b"\x89PNG\r\n\x1a\n broken"), "p.png"),
    "a truncated image": (lambda f: cut(f / "p.png"), "p.png"),
    "no image": (lambda f: (f / "p.png").unlink(), "p.png"),
    "an image that is a folder": (lambda f: ((f / "p.png").unlink(), (f / "p.png").mkdir()), "a folder"),
    "no ONNX file": (lambda f: (f / "model.onnx").unlink(), "holds no model.onnx"),
    "a text file": (lambda f: (f / "model.onnx").write_text("hello"), "is not an ONNX model"),
    "half a file": (lambda f: cut(f / "model.onnx"), "model.onnx is not an ONNX model"),
    "damaged preprocess.json": (lambda f: (f / "preprocess.json").write_text("{}"), "incomplete or damaged"),
    "preprocess.json cut": (lambda f: (f / "preprocess.json").write_text("{"), "cannot be read"),
    "a file for --out": (lambda f: ((f / "out").rmdir(), (f / "out").write_text("")), "--out"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files(name: str, tiny_net: Any, tmp_path: Path, pictures: list[Path], capsys: Any) -> None:
    folder = write(tmp_path / "exported", tiny_net.make(2))
    (folder / "out").mkdir()
    pictures[0].rename(folder / "p.png")
    change, said = BAD_FILES[name]
    change(folder)
    arguments = ["--onnx", str(folder), "--image", str(folder / "p.png"), "--out", str(folder / "out")]
    if name == "a file for --out":
        assert run.main(arguments) == 2
        assert said in capsys.readouterr().err
    else:
        assert said in mistake(capsys, *arguments)


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({}, "does not say how images are prepared"),
        ({**METADATA, "std": "[0.5]"}, "incomplete or damaged"),
        ({**METADATA, "mean": "nonsense"}, "incomplete or damaged"),
        ({**METADATA, "interpolation": "magic"}, "interpolation='magic'"),
        ({key: METADATA[key] for key in ("model", "mean", "std")}, "incomplete or damaged"),
    ],
)
def test_bad_metadata(
    metadata: dict[str, str], said: str, tiny_net: Any, tmp_path: Path, pictures: list[Path], capsys: Any
) -> None:
    folder = write(tmp_path / "exported", tiny_net.make(2), metadata)
    assert said in mistake(capsys, "--onnx", str(folder), "--image", str(pictures[0]))


def test_bad_flags_and_an_engine_without_a_gpu(
    tiny_net: Any, tmp_path: Path, pictures: list[Path], capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, image = str(write(tmp_path / "exported", tiny_net.make(2))), ["--image", str(pictures[0])]
    assert "one of --onnx and --engine" in mistake(capsys, *image)
    assert "one of --onnx and --engine" in mistake(capsys, *image, "--onnx", folder, "--engine", folder)
    assert "--image is needed" in mistake(capsys, "--onnx", folder)
    assert "--top: '0' is not a number above 0" in mistake(capsys, *image, "--onnx", folder, "--top", "0")
    assert "did you mean --top" in mistake(capsys, *image, "--onnx", folder, "--topk", "3")
    assert "no such file" in mistake(capsys, *image, "--onnx", folder + "x")
    assert "--image none.png: no such file" in mistake(capsys, "--image", "none.png", "--onnx", folder)
    assert "holds no model.engine" in mistake(capsys, *image, "--engine", folder)
    assert "--trust-engine is about --engine" in mistake(capsys, *image, "--onnx", folder, "--trust-engine")
    gpu = ["--provider", "cuda"]
    assert "--provider cuda is about --onnx" in mistake(capsys, *image, "--engine", folder, *gpu)
    assert "accepted are cpu, cuda, tensorrt" in mistake(capsys, *image, "--onnx", folder, "--provider", "x")
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        assert "pip install onnxruntime-gpu" in mistake(capsys, *image, "--onnx", folder, *gpu)
    (tmp_path / "exported" / "model.engine").write_bytes(b"plan")
    monkeypatch.setattr(cuda, "why_no_gpu", lambda: "no NVIDIA driver on this machine")
    said = mistake(capsys, *image, "--engine", folder)
    assert f"here is no NVIDIA driver on this machine; run its ONNX file: --onnx {folder}" in said


def test_a_model_without_classes(tiny_net: Any, tmp_path: Path, pictures: list[Path], capsys: Any) -> None:
    model = onnx.load_model_from_string(tiny_net.make(2))
    model.graph.node[-1].output[0] = model.graph.output[0].name = "pre_logits"
    folder = write(tmp_path / "exported", model.SerializeToString())
    said = mistake(capsys, "--onnx", str(folder), "--image", str(pictures[0]))
    assert "its outputs are pre_logits; logits or probabilities are needed" in said


@pytest.mark.parametrize("flag", ["--onnx", "--engine"])
def test_a_model_that_answers_something_else_is_not_opened(
    flag: str,
    tiny_net: Any,
    tmp_path: Path,
    pictures: list[Path],
    capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = write(tmp_path / "exported", tiny_net.make(2), {**METADATA, "answers": "stages"})
    (folder / "model.engine").write_bytes(b"plan")
    monkeypatch.setattr(cuda, "why_no_gpu", lambda: None)
    monkeypatch.setattr(runtimes, "make", lambda *_: pytest.fail("a runtime was asked for"))
    shown = mistake(capsys, flag, str(folder), "--image", str(pictures[0]))
    assert f"{flag} {folder}: resnet50 answers stages: neither classes nor a map" in shown


@pytest.mark.parametrize("flags", [["--sides", "8x8"], ["--least-score", "0.5"], ["--json", "found.json"]])
def test_flags_of_segmenters_and_detectors(
    flags: list[str], tiny_net: Any, tmp_path: Path, pictures: list[Path], capsys: Any
) -> None:
    folder = write(tmp_path / "exported", tiny_net.make(2))
    shown = mistake(capsys, "--onnx", str(folder), "--image", str(pictures[0]), *flags)
    assert f"{flags[0]} is about segmenters and detectors; this model answers classes" in shown


def test_bfloat16_is_run_as_the_gate_runs_it(
    tiny_net: Any, tmp_path: Path, pictures: list[Path], capsys: Any
) -> None:
    """Where a runtime has no bfloat16: the class is that of the float32 file, whose chances are far apart."""
    model = onnx.load_model_from_string(tiny_net.make(2, half=True))
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT16:
            wide = onnx.numpy_helper.to_array(tensor).astype(np.float32)
            narrow = wide.astype(onnx.helper.tensor_dtype_to_np_dtype(onnx.TensorProto.BFLOAT16))
            tensor.CopyFrom(onnx.numpy_helper.from_array(narrow, tensor.name))
    model.graph.node[0].attribute[0].i = onnx.TensorProto.BFLOAT16
    model.opset_import[0].version = 22
    found = []
    for name, data in (("float32", tiny_net.make(2)), ("bfloat16", model.SerializeToString())):
        folder = write(tmp_path / name, data)
        arguments = ["--onnx", str(folder), "--image", *map(str, pictures), "--out", str(tmp_path)]
        assert run.main(arguments) == 0
        shown = capsys.readouterr()
        found.append(answers(shown.out))
    assert "no bfloat16 arithmetic" in shown.err
    for image, lines in found[0].items():
        narrow, wide = dict(found[1][image]), dict(lines)
        assert narrow.keys() == wide.keys() and narrow != wide
        # 8 significant bits in five layers: logits are right to about 1 %, chances to a point or two
        assert max(abs(narrow[label] - wide[label]) for label in wide) < 2
