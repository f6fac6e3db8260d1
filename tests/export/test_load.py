"""What --ckpt may be, and what is said about what it is not; images of the gate; random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import hvjax
from export import gate_images
from export.load import load_source
from export.parity import FP16_LIMIT, FP32_LIMIT, difference, spread
from export.random_weights import random_variables


def test_a_weights_file_brings_model_and_variables(small_model: Any, small_weights: Path) -> None:
    source = load_source(str(small_weights))
    model, variables = small_model
    assert source.model == model and source.name == "resnet50" and not source.random
    assert source.image_size == (224, 224) and len(source.mean) == len(source.std) == 3
    assert jax.tree.all(jax.tree.map(np.array_equal, source.variables, variables))


def test_a_model_name_has_no_weights_yet() -> None:
    source = load_source("next_vit_s")
    assert source.random and source.name == "next_vit_s"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("next_vit_x", "neither a file, nor a folder, nor a model; did you mean next_vit_"),
        ("Resnet50", "did you mean resnet50"),
        ("runs/digits", "runs/digits: no such file or folder"),
        ("weights.safetensors", "no such file or folder"),
    ],
)
def test_nothing_of_that_name(
    given: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        load_source(given)


def test_a_misspelt_path_names_its_neighbour(small_weights: Path) -> None:
    with pytest.raises(ValueError, match=r"did you mean .*small\.safetensors"):
        load_source(str(small_weights.with_name("smal.safetensors")))


def test_a_corrupt_weights_file(small_weights: Path, tmp_path: Path) -> None:
    for size in (0, 5, small_weights.stat().st_size - 7):
        broken = tmp_path / "broken.safetensors"
        broken.write_bytes(small_weights.read_bytes()[:size])
        with pytest.raises(ValueError, match=r"broken\.safetensors"):
            load_source(str(broken))


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_weights_that_are_no_numbers(small_model: Any, tmp_path: Path, wrong: float) -> None:
    model, variables = small_model
    broken = jax.tree.map(np.array, variables)
    broken["params"]["stem"]["conv"]["kernel"][0, 0, 0, 1] = wrong
    hvjax.save_weights(tmp_path / "broken.safetensors", broken, model)
    with pytest.raises(ValueError, match="NaN or infinity in params/stem/conv/kernel: the weights"):
        load_source(str(tmp_path / "broken.safetensors"))


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"expected a \.safetensors file"):
        load_source(str(tmp_path / "model.pt"))


# --- training runs ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def training_run(small_model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workdir with one checkpoint, as the trainer leaves it."""
    ocp = pytest.importorskip("orbax.checkpoint")
    model, variables = small_model
    run = tmp_path_factory.mktemp("run")
    info = {
        "format": 1,
        "model": "resnet50",
        "overrides": hvjax.registry.identify(model)[1],
        "num_classes": 7,
        "class_names": list("abcdefg"),
        "image_size": [32, 40],
        "mean": [0.1, 0.2, 0.3],
        "std": [0.4, 0.5, 0.6],
        "hvjax": hvjax.__version__,
    }
    (run / "model.json").write_text(json.dumps(info))
    images = gate_images.photographs((32, 40), 3, 12).pixels
    np.savez_compressed(run / "gate.npz", images=images, labels=np.zeros(12, np.int64))
    options = ocp.CheckpointManagerOptions(enable_async_checkpointing=False)
    with ocp.CheckpointManager(run / "checkpoints", item_names=("model",), options=options) as manager:
        tree = jax.tree.map(np.asarray, {**variables, "ema": {}})
        manager.save(7, args=ocp.args.Composite(model=ocp.args.StandardSave(tree)))
    return run


@pytest.mark.parametrize("inside", [".", "checkpoints", "checkpoints/7"])
def test_a_training_run(training_run: Path, small_model: Any, inside: str) -> None:
    source = load_source(str(training_run / inside))
    assert source.model == small_model[0]
    assert (source.image_size, source.mean, source.std) == ((32, 40), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert source.class_names == tuple("abcdefg") and source.training["step"] == 7
    assert source.gate_file is not None and source.gate_file.samefile(training_run / "gate.npz")
    assert jax.tree.all(jax.tree.map(np.array_equal, source.variables, small_model[1]))


def test_weights_inside_a_run_share_its_images(training_run: Path, small_weights: Path) -> None:
    inside = training_run / "weights.safetensors"
    inside.write_bytes(small_weights.read_bytes())
    source = load_source(str(inside))
    assert source.image_size == (32, 40) and source.gate_file is not None
    assert source.class_names[0] == "class 0", "the file's own names win"


def test_the_sides_of_images_on_a_canvas(training_run: Path, small_weights: Path, tmp_path: Path) -> None:
    assert load_source(str(training_run)).eval_resize is None, "of a classifier"
    info = json.loads((training_run / "model.json").read_text())
    (tmp_path / "weights.safetensors").write_bytes(small_weights.read_bytes())
    (tmp_path / "model.json").write_text(json.dumps({**info, "eval_resize": [800, 1333]}))
    assert load_source(str(tmp_path / "weights.safetensors")).eval_resize == (800, 1333)
    for damaged in ([800], [0, 1333], "wide", {"shorter": 800}):
        (tmp_path / "model.json").write_text(json.dumps({**info, "eval_resize": damaged}))
        with pytest.raises(ValueError, match=r"model\.json is damaged"):
            load_source(str(tmp_path / "weights.safetensors"))


def test_an_unfinished_checkpoint(training_run: Path, tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text((training_run / "model.json").read_text())
    (tmp_path / "checkpoints" / "7.orbax-checkpoint-tmp").mkdir(parents=True)
    with pytest.raises(ValueError, match="holds no finished checkpoint"):
        load_source(str(tmp_path))


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="checkpoint"):
        load_source(str(tmp_path))


# --- images -------------------------------------------------------------------------------------------


def test_photographs_are_distinct_and_repeat() -> None:
    found = gate_images.photographs((48, 32), 3, 10)
    assert found.pixels.shape == (10, 48, 32, 3) and found.pixels.dtype == np.uint8
    assert len({image.tobytes() for image in found.pixels}) == 10
    assert np.array_equal(found.pixels, gate_images.photographs((48, 32), 3, 10).pixels)
    assert gate_images.photographs((600, 700), 1, 1).pixels.shape == (1, 600, 700, 1)


def test_normalised_by_hand() -> None:
    found = gate_images.GateImages(np.full((1, 1, 1, 2), 255, np.uint8), "white")
    assert found.normalised((0.5, 0.0), (0.25, 2.0)).ravel().tolist() == [2.0, 0.5]


def test_images_of_a_run_are_resized_where_they_must(training_run: Path) -> None:
    gate = training_run / "gate.npz"
    same = gate_images.from_checkpoint(gate, (32, 40), 3, 5)
    assert len(same) == 5 and "resized" not in same.source
    assert gate_images.from_checkpoint(gate, (64, 64), 3, 5).pixels.shape == (5, 64, 64, 3)
    with pytest.raises(ValueError, match="was expected"):
        gate_images.from_checkpoint(gate, (32, 40), 1, 5)


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    pil = pytest.importorskip("PIL.Image")
    for index, image in enumerate(gate_images.photographs((50, 70), 3, 3).pixels):
        pil.fromarray(image).save(tmp_path / f"{index}.png")
    (tmp_path / "a_broken.jpg").write_bytes(b"\xff\xd8\xff not a picture")
    (tmp_path / "notes.txt").write_text("not looked at")
    found = gate_images.from_folder(tmp_path, (32, 32), 3, 16, crop_pct=0.875)
    assert found.pixels.shape == (3, 32, 32, 3) and found.pixels.std() > 10
    assert len(found.skipped) == 1 and "a_broken.jpg" in found.skipped[0]
    assert len(found.at_least(8)) == 8 and "repeated to fill a batch of 8" in found.at_least(8).source


def test_folders_without_a_readable_picture(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such folder"):
        gate_images.from_folder(tmp_path / "none", (32, 32), 3, 4, 1.0)
    with pytest.raises(ValueError, match="it holds no pictures"):
        gate_images.from_folder(tmp_path, (32, 32), 3, 4, 1.0)
    (tmp_path / "x.png").write_bytes(b"no")
    with pytest.raises(ValueError, match="none of its pictures can be read"):
        gate_images.from_folder(tmp_path, (32, 32), 3, 4, 1.0)


# --- random weights -----------------------------------------------------------------------------------


def test_random_weights_give_a_gate_something_to_see(small_model: Any) -> None:
    """The answers depend on the image, and rounding stays far below the limit of the gate."""
    model, variables = small_model
    images = gate_images.photographs((32, 32), 3, 8).normalised((0.5,) * 3, (0.25,) * 3)
    logits = np.asarray(jax.jit(model.apply)(variables, images))
    assert spread(logits) > 0.1
    deploy, fused = hvjax.reparameterize(model, variables)
    found = difference(np.asarray(jax.jit(deploy.apply)(fused, images)), logits, logits=True)
    assert found.relative < FP32_LIMIT / 2
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        assert np.asarray(leaf).std() > 0, path
    again = random_variables(model, images)
    assert jax.tree.all(jax.tree.map(np.array_equal, again, variables))
    other = random_variables(model, images, seed=1)
    assert not np.array_equal(other["params"]["head"]["kernel"], variables["params"]["head"]["kernel"])


def test_random_weights_of_a_plain_stack_round_as_trained_ones() -> None:
    """MobileOne has no trunk but the norms of its inputs: float16 weights must not cost more than the gate
    allows, and a late kernel that is off by a tenth must cost more than that."""
    model = hvjax.create_model(
        "mobileone_s0", num_classes=100, depths=(1, 6, 6, 1), widths=(16, 32, 32, 64), branches=2
    )
    images = gate_images.photographs((64, 64), 3, 8).normalised((0.5,) * 3, (0.25,) * 3)
    deploy, fused = hvjax.reparameterize(model, random_variables(model, images))
    run = jax.jit(deploy.apply)
    logits = np.asarray(run(fused, images))
    assert spread(logits) > 0.1
    half = jax.tree.map(lambda leaf: np.asarray(leaf, np.float16).astype(np.float32), fused)
    assert difference(np.asarray(run(half, images)), logits).relative < FP16_LIMIT
    late = fused["params"]["stage3"]["block6"]
    for name in ("depthwise", "pointwise"):
        kernel = late[name]["conv"]["kernel"]
        late[name]["conv"]["kernel"] = 1.1 * kernel
        assert difference(np.asarray(run(fused, images)), logits).relative > 2 * FP16_LIMIT
        late[name]["conv"]["kernel"] = kernel
