"""What an exported segmenter or detector is worth, by `python -m export.score`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import onnx
import pytest

import hvjax
from export import score, to_onnx
from export.opening import open_onnx
from export.runtimes import cuda
from export.runtimes.onnxruntime import OnnxSession
from hvjax.preprocessing import normalise
from hvjax.registry import get_spec
from train_tpu.config import base_config
from train_tpu.data.dense_examples import open_dense_dataset
from train_tpu.data.dense_pipeline import eval_batches
from train_tpu.data.quarantine import CorruptImages
from train_tpu.data.scenes import CLASSES, THINGS
from train_tpu.evaluation import detection_scores
from train_tpu.evaluation.detection_scores import DetectionMeter
from train_tpu.evaluation.label_scores import LabelSizeMeter, resized

SIZE, SIDES = 64, (48, 56)
#: Images to score: the batch of 2 does not divide them.
IMAGES = 5
#: Of a share of some 250000 pixels, 25 of which may change sides by a rounding.
ROUNDING = 1e-4
#: What float32 on another road moves boxes of 64 px by.
PIXELS = 0.05
#: Weights and results are rounded to as many bits: rounding both costs more, here twice as much.
LESS, MORE = 1.2, 10
SMALL = ["--via", "stablehlo", "--image-size", str(SIZE), "--batch", "2", "--gate-images", "4"]


def test_the_scores_of_a_segmenters_file_are_those_of_the_model(
    exported_segmenter: Path, segmenter: Path, tmp_path: Path, capsys: Any
) -> None:
    found = _scored(["--onnx", str(exported_segmenter)], tmp_path)
    shown = capsys.readouterr().out
    assert "mean" in shown and "64x64, batch 2; sides of an image: at most 48x56" in shown
    model, variables = hvjax.load_weights(segmenter)
    run = jax.jit(lambda images: model.apply(variables, images))
    source = open_dense_dataset(_data(), "segmentation").held_out
    meter = LabelSizeMeter(CLASSES, source, SIDES, (SIZE, SIZE))
    for batch in _batches("segmentation"):
        truths = meter.truths(batch["index"])
        assert resized(truths)  # or sizes did not matter here
        meter.add(run(_normal(batch["image"])), truths)
    assert (found["count"], found["unreadable"], found["sides"]) == (IMAGES, 0, list(SIDES))
    for name in ("miou", "macc", "aacc"):
        assert found[name] == pytest.approx(meter.value[name], abs=ROUNDING)


def test_the_answers_of_a_detectors_file_are_those_of_the_model(
    exported_detector: Path, detector: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network with random weights finds nothing rightly: what it finds is compared, and not the scores."""
    pytest.importorskip("pycocotools")
    meters: list[DetectionMeter] = []

    class Kept(DetectionMeter):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            meters.append(self)

    monkeypatch.setattr(detection_scores, "DetectionMeter", Kept)
    assert _scored(["--onnx", str(exported_detector)], tmp_path)["count"] == IMAGES
    model, variables = hvjax.load_weights(detector)
    run = jax.jit(lambda images: model.apply(variables, images))
    meter = DetectionMeter(THINGS, open_dense_dataset(_data(), "detection").held_out)
    for batch in _batches("detection"):
        meter.add(run(_normal(batch["image"])), batch)
    assert meters[0].records.keys() == meter.records.keys() == set(range(IMAGES))
    for index, record in meter.records.items():
        mine, theirs = (_corners(one["found"]) for one in (meters[0].records[index], record))
        assert len(theirs) > 2 and np.all(theirs[:, :4] <= SIZE)
        np.testing.assert_allclose(mine, theirs, atol=PIXELS)


def test_float16_is_scored_as_it_rounds(
    segmenter: Path, exported_segmenter: Path, tmp_path: Path, capsys: Any
) -> None:
    """ONNX Runtime alone rounds the weights only: it is nearer to float32 than what is deployed."""
    given = ["--ckpt", str(segmenter), "--precision", "fp16", "--out", str(tmp_path / "fp16"), *SMALL]
    assert to_onnx.main(given) == 0
    capsys.readouterr()
    assert _scored(["--onnx", str(tmp_path / "fp16")], tmp_path)["count"] == IMAGES
    assert "computes float16 in float32 on the CPU" in capsys.readouterr().err
    images = _normal(_batches("segmentation")[0]["image"]).transpose(0, 3, 1, 2)
    data = (tmp_path / "fp16" / "model.onnx").read_bytes()
    wide, plain = OnnxSession((exported_segmenter / "model.onnx").read_bytes()), OnnxSession(data)
    rounding = open_onnx(onnx.load_model_from_string(data), data, "cpu", rounds=True)
    wanted, *found = (session.run(images)["logits"] for session in (wide, plain, rounding))
    by_weights, by_all = (np.abs(logits - wanted).mean() for logits in found)
    assert LESS * by_weights < by_all < MORE * by_weights


def test_an_engine_is_scored_by_what_its_onnx_file_says(
    exported_segmenter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime plays the engine."""
    folder = tmp_path / "engine"
    folder.mkdir()
    shutil.copy(exported_segmenter / "model.onnx", folder)
    (folder / "model.engine").write_bytes(b"plan")
    wanted = _scored(["--onnx", str(folder)], tmp_path)
    opened: list[Path] = []

    def open_engine(path: Path, *, trusted: bool) -> OnnxSession:
        opened.append(path)
        return OnnxSession(path.with_name("model.onnx").read_bytes())

    monkeypatch.setattr(cuda, "why_no_gpu", lambda: None)
    monkeypatch.setattr(score, "open_engine", open_engine)
    found = _scored(["--engine", str(folder)], folder)
    assert opened == [folder / "model.engine"]
    assert {**found, "file": ""} == {**wanted, "file": ""}


def test_a_segmenter_that_answers_no_numbers_is_worth_nothing(
    exported_segmenter: Path, tmp_path: Path, capsys: Any
) -> None:
    """The greatest of NaN would be the first class."""
    model = onnx.load(exported_segmenter / "model.onnx")
    last = next(node for node in reversed(model.graph.node) if node.op_type == "Conv")
    weights = next(held for held in model.graph.initializer if held.name == last.input[1])
    values = onnx.numpy_helper.to_array(weights).copy()
    values[-1] = np.nan
    weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))
    onnx.save(model, tmp_path / "model.onnx")
    out = tmp_path / "scores.json"
    assert score.main(["--onnx", str(tmp_path), "--images", "2", "--out", str(out)]) == 1
    shown = capsys.readouterr().err
    assert "failed: the segmenter answers logits that are not finite" in shown and not out.exists()


def test_the_file_of_scores_is_never_written_over(
    exported_segmenter: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither one that came while the images were scored, nor what a link leads to."""
    out, given = tmp_path / "scores.json", ["--onnx", str(exported_segmenter), "--images", "1"]
    real = score.score

    def slow(*args: Any, **more: Any) -> Any:
        out.write_text("mine")
        return real(*args, **more)

    monkeypatch.setattr(score, "score", slow)
    assert score.main([*given, "--out", str(out)]) == 2
    assert out.read_text() == "mine" and "File exists" in capsys.readouterr().err
    (tmp_path / "link.json").symlink_to(tmp_path / "nowhere.json")
    assert score.main([*given, "--out", str(tmp_path / "link.json")]) == 2
    assert "link.json is there already" in capsys.readouterr().err
    assert not (tmp_path / "nowhere.json").exists()


def test_a_path_that_is_no_text(exported_segmenter: Path, tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    folder.mkdir()
    shutil.copy(exported_segmenter / "model.onnx", folder)
    given = ["--onnx", str(folder), "--images", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "export.score", *given], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "caf\\udce9/model.onnx" in done.stdout


def _scored(given: list[str], folder: Path) -> Any:
    out = folder / "scores.json"
    assert score.main([*given, "--images", str(IMAGES), "--out", str(out)]) == 0
    return json.loads(out.read_text())


def _data() -> Any:
    data = base_config().data
    data.image_size, data.eval_canvas, data.eval_resize, data.threads = SIZE, (SIZE, SIZE), SIDES, 0
    return data


def _batches(task: str) -> list[dict[str, np.ndarray]]:
    """The first held-out scenes; the last batch is filled up."""
    source = open_dense_dataset(_data(), task).held_out
    batches = eval_batches(source, _data(), task, batch_size=2, corrupt=CorruptImages(IMAGES, 0))
    found = [next(batches) for _ in range(-(-IMAGES // 2))]
    found[-1]["index"][IMAGES % 2 :] = -1
    return found


def _corners(found: Any) -> np.ndarray:
    """(n, 5): boxes and classes, surest first."""
    rows = [(*one["bbox"], one["label"]) for one in found]
    return np.array(rows).reshape(-1, 5)


def _normal(images: np.ndarray) -> np.ndarray:
    spec = get_spec("resnet50")
    return normalise(images, spec.mean, spec.std)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "one of --onnx and --engine is needed"),
        (["--onnx", "nowhere.onnx"], "no such file"),
        (["--onnx", "{empty}"], "the folder holds no model.onnx"),
        (["--onnx", "{segmenter}", "--data", "nowhere"], "--data nowhere: no such directory"),
        (["--onnx", "{segmenter}", "--images", "0"], "not a number above 0"),
        (["--onnx", "{segmenter}", "--sides", "64by64"], "--sides"),
        (["--onnx", "{segmenter}", "--sides", "1333x800"], "the shorter side comes first, 800x1333"),
        (["--onnx", "{segmenter}", "--sides", "48x64,64"], "names more than one pair of sides"),
        (["--onnx", "{segmenter}", "--out", "{empty}/no/x.json"], "there is no folder"),
        (["--onnx", "{segmenter}", "--provider", "gpu"], "accepted are cpu, cuda, tensorrt"),
        (["--onnx", "{segmenter}", "--trust-engine"], "--trust-engine is about --engine"),
        (["--engine", "{segmenter}"], "the folder holds no model.engine"),
        (["--engine", "{engine}"], "model.onnx, which says what it takes and answers, is not beside it"),
        (["--onnx", "{classifier}"], "is no exported segmenter or detector: it says that it answers classes"),
        (["--onnx", "{text}"], "is not an ONNX model with one input of images"),
    ],
)
def test_mistakes_with_the_scores(
    flags: list[str],
    message: str,
    exported_segmenter: Path,
    tmp_path: Path,
    capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """None of them after the file was opened."""
    monkeypatch.setattr(score, "score", score.score if "--data" in flags else pytest.fail)
    places = {name: tmp_path / name for name in ("empty", "engine", "classifier", "text")}
    places["empty"].mkdir()
    places["text"].write_text("no model")
    places["engine"].write_bytes(b"plan")
    model = onnx.load(exported_segmenter / "model.onnx")
    onnx.helper.set_model_props(model, {"model": "resnet50"})
    onnx.save(model, places["classifier"])
    places["segmenter"] = exported_segmenter
    assert score.main([flag.format(**places) for flag in flags]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("python -m export.score: error: ") and message in shown and shown.count("\n") == 1


@pytest.mark.parametrize(
    ("key", "value"),
    [("mean", "[0.5]"), ("std", "nonsense"), ("eval_resize", "[48]"), ("input_layout", ""), ("model", None)],
)
def test_a_file_that_says_too_little_of_itself(
    key: str, value: str | None, exported_detector: Path, tmp_path: Path, capsys: Any
) -> None:
    model = onnx.load(exported_detector / "model.onnx")
    said = {entry.key: entry.value for entry in model.metadata_props if (entry.key, value) != (key, None)}
    onnx.helper.set_model_props(model, said if value is None else {**said, key: value})
    onnx.save(model, tmp_path / "model.onnx")
    assert score.main(["--onnx", str(tmp_path)]) == 2
    shown = capsys.readouterr()
    assert "is incomplete or damaged" in shown.err and shown.err.count("\n") == 1 and not shown.out


def test_real_data_without_a_scale(exported_segmenter: Path, tmp_path: Path, capsys: Any) -> None:
    model = onnx.load(exported_segmenter / "model.onnx")
    kept = [entry for entry in model.metadata_props if entry.key != "eval_resize"]
    onnx.helper.set_model_props(model, {entry.key: entry.value for entry in kept})
    onnx.save(model, tmp_path / "model.onnx")
    assert score.main(["--onnx", str(tmp_path), "--data", str(tmp_path / "nowhere")]) == 2
    captured = capsys.readouterr()
    assert "at most 64x64" in captured.out and "give --sides as in training" in captured.err
    assert score.main(["--onnx", str(tmp_path), "--data", "nowhere", "--sides", "48x56"]) == 2
    captured = capsys.readouterr()
    assert "at most 48x56" in captured.out and "--sides" not in captured.err
