"""Whole runs of segmentation and detection: they learn, resume to the bit, are evaluated and start others."""

import csv
import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

import hvjax
from train_tpu import evaluate_dense, predict_dense
from train_tpu.checkpointing.checkpoint import load_inference
from train_tpu.checkpointing.interrupt import StopRequest
from train_tpu.errors import RunFailed, UserError
from train_tpu.evaluate import main as evaluate
from train_tpu.learning.start import load_start
from train_tpu.model import build_dense_model
from train_tpu.monitoring.metrics import read_metrics
from train_tpu.predict import main as predict
from train_tpu.scores import MAIN
from train_tpu.train import run

TASKS = ("segmentation", "detection")
MAIN_OF = {"segmentation": "miou", "detection": "box_ap"}
LOSSES = {
    "segmentation": {"pixels"},
    "detection": {
        *("rpn_objectness_loss", "rpn_box_loss"),
        *("box_class_loss", "box_regression_loss", "mask_loss"),
    },
}


@pytest.mark.parametrize("task", TASKS)
def test_run_leaves_what_a_run_leaves(finished_dense_run, task: str) -> None:
    workdir = finished_dense_run(task)
    rows = read_metrics(workdir)
    held_out = [row for row in rows if row["split"] == "held_out"]
    expected = {(step, weights) for step in (2, 4) for weights in ("raw", "ema")}
    assert {(row["step"], row["weights"]) for row in held_out} == expected
    assert all(MAIN_OF[task] in row and row["count"] == 256 for row in held_out)
    train = [row for row in rows if row["split"] == "train"]
    assert LOSSES[task] <= set(train[0]) and all(np.isfinite(row["loss"]) for row in train)
    for name in ("weights.safetensors", "learning_curve.png", "machine_curve.png", "gate.npz"):
        assert (workdir / name).stat().st_size > 0
    info = json.loads((workdir / "model.json").read_text())
    assert info["model"] == {"segmentation": "resnet50+semantic_fpn", "detection": "resnet50+mask_rcnn"}[task]
    assert info["image_size"] == info["eval_resize"] == [64, 64]
    assert info["crop_pct"] == 1.0
    assert len(info["class_names"]) == {"segmentation": 9, "detection": 8}[task]
    model, variables = hvjax.load_weights(workdir / "weights.safetensors")
    best = load_inference(workdir, "best")
    jax.tree.map(np.testing.assert_array_equal, variables, best.variables)
    assert model.config == best.model.config and MAIN_OF[task] in MAIN


@pytest.mark.parametrize("task", TASKS)
def test_interrupted_run_resumes_to_the_bit(
    dense_config, finished_dense_run, task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workdir = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(StopRequest, "agreed", lambda self, step: step == 3)
        patch.setattr(StopRequest, "now", lambda self: False)
        patch.setattr(StopRequest, "exit_code", 143, raising=False)
        patch.setattr(StopRequest, "name", "SIGTERM", raising=False)
        assert run(dense_config(task), workdir) == 143
    assert run(dense_config(task), workdir) == 0
    straight, resumed = (load_inference(d, "last") for d in (finished_dense_run(task), workdir))
    jax.tree.map(np.testing.assert_array_equal, straight.raw, resumed.raw)


@pytest.mark.parametrize("task", TASKS)
def test_evaluation_scores_both_forms_as_the_run_did(
    finished_dense_run, task: str, tmp_path: Path, capsys
) -> None:
    workdir, out = finished_dense_run(task), tmp_path / "out"
    assert evaluate(["--ckpt", str(workdir), "--which", "last", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "the forms agree" in said and "averaged weights, on drawn scenes, 256 images" in said
    results = json.loads((out / "results.json").read_text())
    logged = [row for row in read_metrics(workdir) if row.get("weights") == "ema"][-1]
    main = MAIN_OF[task]
    assert results["scores"]["train"][main] == pytest.approx(logged[main], abs=1e-6)
    assert set(results["scores"]) == {"train", "deploy", "raw"}
    assert results["notes"] == [], "there is nothing to say of scenes"
    assert "on_canvas" not in results, "scenes are not resized"
    assert 0 < results["difference_of_forms"] <= evaluate_dense.FORMS_AGREE
    with (out / "per_class.csv").open() as file:
        classes = list(csv.DictReader(file))
    assert [row["name"] for row in classes] == load_inference(workdir).info["class_names"]
    assert (out / "predictions.png").stat().st_size > 10_000
    assert evaluate(["--ckpt", str(workdir), "--out", str(out)]) == 2
    assert "exists; give another --out" in capsys.readouterr().err


def test_a_segmenter_is_scored_at_the_size_of_the_labels(finished_dense_run, tmp_path: Path, capsys) -> None:
    """Images of 40 x 90 and 30 x 30 px on a canvas of 64 x 64: all of their pixels count, once."""
    workdir, data = finished_dense_run("segmentation"), tmp_path / "data"
    rng = np.random.default_rng(0)
    for folder in ("images/val", "annotations/val"):
        (data / folder).mkdir(parents=True)
    labels = {"wide": rng.integers(0, 9, (40, 90)), "small": np.full((30, 30), 8)}
    labels["small"][:, :3] = 255
    for name, values in labels.items():
        colours = rng.integers(0, 256, (*values.shape, 3)).astype(np.uint8)
        Image.fromarray(colours).save(data / f"images/val/{name}.png")
        Image.fromarray(values.astype(np.uint8)).save(data / f"annotations/val/{name}.png")
    names = load_inference(workdir).info["class_names"]
    (data / "classes.txt").write_text("\n".join(names) + "\n")
    out = tmp_path / "out"
    assert evaluate(["--ckpt", str(workdir), "--data-dir", str(data), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "on the canvas, as while training: mIoU" in said
    with (out / "per_class.csv").open() as file:
        pixels = sum(int(row["pixels"]) for row in csv.DictReader(file))
    assert pixels == 40 * 90 + 30 * 27
    results = json.loads((out / "results.json").read_text())
    assert set(results["scores"]) == set(results["on_canvas"]) == {"train", "deploy", "raw"}
    assert results["scores"]["train"]["loss"] == results["on_canvas"]["train"]["loss"]
    assert results["scores"]["train"]["aacc"] != results["on_canvas"]["train"]["aacc"]


def test_evaluation_that_needs_too_much_memory_says_how_to_need_less(
    finished_dense_run, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(loaded, config, *_):
        raise jax.errors.JaxRuntimeError(f"RESOURCE_EXHAUSTED: {config.data.eval_batch_size} images")

    monkeypatch.setattr(evaluate_dense, "_answers", too_large)
    workdir = str(finished_dense_run("segmentation"))
    for given, size in ([], 64), (["--batch", "16"], 16):
        assert evaluate(["--ckpt", workdir, *given]) == RunFailed.exit_code
        said = f"error: out of device memory: try less than --batch {size}\n"
        assert capsys.readouterr().err == said
    assert evaluate(["--ckpt", workdir, "--batch", "0"]) == UserError.exit_code
    assert "--batch 0: expected a number of images" in capsys.readouterr().err


def test_starts_from_another_run_and_from_a_classifier(
    dense_config, finished_dense_run, finished_run: Path, tmp_path: Path
) -> None:
    """A run of the same kind gives everything, a classifier the backbone; anything else is refused."""
    config = dense_config("segmentation")
    model = build_dense_model(config.model, 9, config.data.canvas)
    segmenter = finished_dense_run("segmentation")
    given, notes = load_start(str(segmenter), model, 0, tmp_path)
    best = load_inference(segmenter).variables
    jax.tree.map(np.testing.assert_array_equal, given, best)
    assert notes[0] == f"starting from {segmenter}"

    given, _ = load_start(str(finished_run), model, 0, tmp_path)
    classifier = load_inference(finished_run).variables
    np.testing.assert_array_equal(
        given["params"]["backbone"]["stem"]["conv"]["kernel"], classifier["params"]["stem"]["conv"]["kernel"]
    )
    fresh = model.init(jax.random.key(0), np.zeros((1, 64, 64, 3), np.float32))
    assert jax.tree.structure(given) == jax.tree.structure(fresh)

    detector = finished_dense_run("detection")
    with pytest.raises(ValueError, match=r"resnet50\+mask_rcnn, neither of resnet50\+semantic_fpn"):
        load_start(str(detector), model, 0, tmp_path)


def test_frozen_parts_and_still_norms_stay(dense_config, tmp_path: Path) -> None:
    """As Next-ViT's recipe for COCO: parameters of stem and stage 1, statistics of all batch norms."""
    changes = {
        "optimizer.freeze": r"^backbone\.(stem|stage1)\.",
        "optimizer.still_norms": r"^backbone\.",
        "schedule.steps": 2,
    }
    config = dense_config("segmentation", changes)
    assert run(config, tmp_path / "run") == 0
    model = build_dense_model(config.model, 9, config.data.canvas)
    trained = load_inference(tmp_path / "run", "last").raw
    key, _ = jax.random.split(jax.random.key(config.seed))
    before = model.init(key, np.zeros((1, 64, 64, 3), np.float32))
    same = jax.tree.map(lambda a, b: bool((np.asarray(a) == np.asarray(b)).all()), before, trained)
    stages = same["params"]["backbone"]
    assert all(jax.tree.leaves(stages["stem"])) and all(jax.tree.leaves(stages["stage1"]))
    assert not any(jax.tree.leaves(stages["stage4"]["block1"]["conv1"]))
    assert all(jax.tree.leaves(same["batch_stats"]["backbone"]))
    assert not any(jax.tree.leaves(same["batch_stats"]["head"]))


@pytest.mark.parametrize("task", TASKS)
def test_predict_draws_on_images(finished_dense_run, task: str, tmp_path: Path, capsys) -> None:
    """Images of any size, two of one name; one that cannot be read is said, and the others are drawn."""
    for place, size in (("a/1.png", (50, 90)), ("b/1.png", (30, 20))):
        (tmp_path / place).parent.mkdir()
        Image.fromarray(np.full((*size, 3), 90, np.uint8)).save(tmp_path / place)
    (tmp_path / "b/2.jpg").write_bytes(b"no image")
    out = tmp_path / "out"
    images = ["--images", str(tmp_path / "a"), str(tmp_path / "b")]
    call = ["--ckpt", str(finished_dense_run(task)), "--batch", "2", "--out", str(out), *images]
    assert predict(call) == 1
    said = capsys.readouterr().out
    assert f"{tmp_path / 'b/2.jpg'}: " in said and "(2 of 3 images)" in said
    assert sorted(path.name for path in out.iterdir()) == ["1_2_predicted.png", "1_predicted.png"]
    with Image.open(out / "1_predicted.png") as picture:
        assert len(np.unique(np.asarray(picture))) > 2
    assert predict(call) == 2
    assert "exists; give another --out, or --overwrite" in capsys.readouterr().err
    assert predict([*call, str(out), "--overwrite"]) == 1
    assert "(2 of 3 images)" in capsys.readouterr().out, "pictures are no images to be looked at"


def test_predict_draws_each_image_into_its_own_picture(finished_dense_run, tmp_path: Path, capsys) -> None:
    """Also where an image has the name that a second one of a name would get, or one in capitals."""
    images = [tmp_path / name for name in ("a.png", "b/a.png", "a_2.png", "c/A.png")]
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    for path in (*images, odd):
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((30, 20, 3), 90, np.uint8)).save(path)
    odd.write_bytes(b"no image")
    given = [str(path) for path in (*images, odd)]
    run_folder, out = str(finished_dense_run("segmentation")), tmp_path / "out"
    assert predict(["--ckpt", run_folder, "--out", str(out), "--images", *given]) == 1
    said = capsys.readouterr().out
    assert "(4 of 5 images)" in said and "caf\\xe9.png: not an image" in said
    made = {f"{stem}_predicted.png" for stem in ("a", "a_2", "a_2_2", "A_3")}
    assert {path.name for path in out.iterdir()} == made


@pytest.mark.parametrize(
    ("task", "part"),
    [
        ("segmentation", "backbone"),
        *(("detection", part) for part in ("backbone", "fpn", "rpn", "box_head", "mask_head")),
    ],
)
def test_predict_draws_no_answer_that_is_not_finite(
    finished_dense_run, task: str, part: str, tmp_path: Path, capsys, monkeypatch
) -> None:
    real = predict_dense.load_inference

    def damaged(*given: Any) -> Any:
        loaded = real(*given)
        broken = jax.tree.map(lambda a: np.full_like(a, np.nan), loaded.variables["params"][part])
        params = {**loaded.variables["params"], part: broken}
        return dataclasses.replace(loaded, variables={**loaded.variables, "params": params})

    monkeypatch.setattr(predict_dense, "load_inference", damaged)
    image = tmp_path / "image.png"
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(image)
    call = ["--ckpt", str(finished_dense_run(task)), "--images", str(image), "--out", str(tmp_path / "out")]
    assert predict(call) == 1
    assert "image.png is not finite: damaged weights?" in capsys.readouterr().err
    assert not list((tmp_path / "out").iterdir())


def test_predict_refuses_weights_alone(finished_dense_run, tmp_path: Path, capsys) -> None:
    image = tmp_path / "image.png"
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(image)
    ckpt = finished_dense_run("segmentation") / "weights.safetensors"
    assert predict(["--ckpt", str(ckpt), "--images", str(image), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err.strip()
    assert "resnet50+semantic_fpn names no class of a whole image" in said and "\n" not in said
