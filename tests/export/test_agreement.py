"""Top-1 agreement on the validation images of a run: counted, not assumed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest

import hvjax
from export import gate_images
from export.agreement import validation_agreement
from export.bridge import convert

MEAN, STD, SIZE, IMAGES = (0.5,) * 3, (0.25,) * 3, (32, 32), 11
RULE = SimpleNamespace(mean=MEAN, std=STD, crop_pct=1.0, interpolation="bicubic")


@pytest.fixture(scope="module")
def exported(small_model: Any) -> tuple[Any, Any, bytes]:
    """The deploy form of the small model, its variables, and its ONNX file of a fixed batch of 4."""
    deploy, variables = hvjax.reparameterize(*small_model)
    model = convert(
        deploy.apply,
        jax.ShapeDtypeStruct((4, *SIZE, 3), jnp.float32),
        weights=variables,
        input_names=["images"],
        output_names=["logits"],
        input_layout="nchw",
    )
    return deploy, variables, model.SerializeToString()


@pytest.fixture(scope="module")
def run(exported: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A gate.npz whose labels are JAX's answers, two of eleven made wrong; and these answers."""
    pixels = gate_images.photographs(SIZE, 3, IMAGES).pixels
    inputs = gate_images.GateImages(pixels, "").normalised(MEAN, STD)
    answers = np.asarray(exported[0].apply(exported[1], inputs)).argmax(-1)
    labels = answers.copy()
    labels[:2] = (labels[:2] + 1) % 7
    file = tmp_path_factory.mktemp("run") / "gate.npz"
    np.savez(file, images=pixels, labels=labels)
    return file, answers


def agree(file: Path, model: bytes, exported: Any, **changed: Any) -> Any:
    options = {"size": SIZE, "rule": RULE, "input_layout": "nchw", "batch": 4, **changed}
    return validation_agreement(file, model, exported[:2], **options)


def test_a_right_file_agrees_and_is_as_accurate(exported: Any, run: Any) -> None:
    found = agree(run[0], exported[2], exported)
    assert (found.images, found.top1) == (IMAGES, 1.0)
    assert found.accuracy_jax == found.accuracy_file == pytest.approx(9 / 11)


def test_a_wrong_file_is_counted(exported: Any, run: Any) -> None:
    """With the classes of the head moved by one it never agrees, and is right where a label was moved."""
    model = onnx.load_model_from_string(exported[2])
    for tensor in model.graph.initializer:
        if tensor.name.startswith("head"):
            value = onnx.numpy_helper.to_array(tensor)
            axis = value.shape.index(7)
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.roll(value, 1, axis), tensor.name))
    found = agree(run[0], model.SerializeToString(), exported)
    assert found.top1 == 0.0 and found.accuracy_file == pytest.approx(2 / 11)


def test_images_without_labels(exported: Any, run: Any, tmp_path: Path) -> None:
    with np.load(run[0]) as held:
        np.savez(tmp_path / "gate.npz", images=held["images"][:3])
    found = agree(tmp_path / "gate.npz", exported[2], exported)
    assert (found.images, found.top1, found.accuracy_jax, found.accuracy_file) == (3, 1.0, None, None)


def test_a_file_of_something_else(exported: Any, tmp_path: Path) -> None:
    (tmp_path / "gate.npz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"gate\.npz is not a file of held-out images"):
        agree(tmp_path / "gate.npz", exported[2], exported)
