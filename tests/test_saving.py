"""Weights files with models: rebuilt alone, loaded into a model, and refused where they do not belong."""

import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

import hvjax
from hvjax.models.features import Backbone
from hvjax.ops.trees import Tree, flatten
from hvjax.structure import abstract_variables
from hvjax.weights.io import read_info

NARROW = {"depths": (1, 1, 1, 1), "widths": (8, 8, 8, 8), "stem_channels": 8, "num_classes": 3}
NEXT_VIT = {
    "blocks": ("C", "T", "T", "C"),
    "conv_channels": (32, 32, 32, 32),
    "transformer_channels": (128, 128, 128, 128),
    "drop_path_rate": 0.25,
}

SWIN = {"embed_dim": 8, "heads": (1, 2, 2, 4), "window_size": 4}  # both forms have the same tensors


def random_variables(model: Backbone, dtype=np.float32) -> Tree:
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: rng.uniform(0.5, 1.5, leaf.shape).astype(dtype), abstract_variables(model)
    )


def assert_same(actual: Tree, expected: Tree) -> None:
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert isinstance(a, jax.Array)
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@pytest.fixture
def model() -> Backbone:
    return hvjax.create_model("resnet50", **NARROW)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.safetensors"


@pytest.mark.parametrize("deploy", [False, True])
@pytest.mark.parametrize(
    ("name", "overrides"),
    [("resnet50", NARROW), ("next_vit_b", NEXT_VIT), ("resnet101", {}), ("swin_t", SWIN)],
)
def test_the_file_alone_rebuilds_model_and_variables(
    path: Path, name: str, overrides: dict, deploy: bool
) -> None:
    model = hvjax.create_model(name, deploy=deploy, **overrides)
    variables = random_variables(model)
    hvjax.save_weights(path, variables, model)
    loaded_model, loaded = hvjax.load_weights(path)
    assert loaded_model == model
    assert_same(loaded, variables)


def test_fused_weights_run_after_loading(path: Path, model: Backbone) -> None:
    deploy_model, deploy_variables = hvjax.reparameterize(model, random_variables(model))
    hvjax.save_weights(path, deploy_variables, deploy_model)
    loaded_model, loaded = hvjax.load_weights(path)
    images = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype(np.float32)
    np.testing.assert_array_equal(
        loaded_model.apply(loaded, images), deploy_model.apply(deploy_variables, images)
    )


def test_loading_into_a_model(path: Path, model: Backbone) -> None:
    variables = random_variables(model)
    hvjax.save_weights(path, variables, model)
    assert_same(hvjax.load_weights(path, model.clone(dtype=jnp.bfloat16)), variables)


def test_without_a_model_the_file_needs_one_to_load(path: Path, model: Backbone) -> None:
    variables = random_variables(model)
    hvjax.save_weights(path, variables)
    assert_same(hvjax.load_weights(path, model), variables)
    with pytest.raises(ValueError, match=r"saved without its model: give it, load_weights\(path, model\)"):
        hvjax.load_weights(path)


def test_jax_arrays_of_a_trained_model(path: Path, model: Backbone) -> None:
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    hvjax.save_weights(path, variables, model)
    assert_same(hvjax.load_weights(path)[1], variables)


def test_bfloat16_weights_stay_bfloat16(path: Path, model: Backbone) -> None:
    variables = jax.tree.map(jnp.asarray, random_variables(model, jnp.bfloat16))
    hvjax.save_weights(path, variables, model)
    assert_same(hvjax.load_weights(path, model), variables)


def test_float64_weights_are_not_narrowed_in_silence(path: Path, model: Backbone) -> None:
    variables = random_variables(model, np.float64)
    hvjax.save_weights(path, variables, model)
    with pytest.raises(ValueError, match=r"is float64; to keep 64 bits.*jax_enable_x64"):
        hvjax.load_weights(path)
    with jax.enable_x64(True):
        assert_same(hvjax.load_weights(path)[1], variables)


def test_class_names(path: Path, model: Backbone) -> None:
    hvjax.save_weights(path, random_variables(model), model, class_names=["cat", "dog", "Äffchen"])
    assert read_info(path).class_names == ("cat", "dog", "Äffchen")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["cat", "dog"], "2 class names for a model with 3 classes"),
        ("cat", "expected a sequence of strings"),
        ([0, 1, 2], "expected a sequence of strings"),
    ],
)
def test_class_names_that_do_not_fit(path: Path, model: Backbone, names, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hvjax.save_weights(path, random_variables(model), model, class_names=names)
    assert not path.exists()


def test_numpy_numbers_as_overrides(path: Path) -> None:
    model = hvjax.create_model("resnet50", **{**NARROW, "num_classes": np.int64(3)})
    hvjax.save_weights(path, random_variables(model), model)
    assert hvjax.load_weights(path)[0] == model


def test_variables_of_another_model_are_not_written(path: Path, model: Backbone) -> None:
    variables = random_variables(model)
    with pytest.raises(ValueError, match=r"not the variables of resnet50 \(4 classes, training form\)"):
        hvjax.save_weights(path, variables, hvjax.create_model("resnet50", **{**NARROW, "num_classes": 4}))
    with pytest.raises(ValueError, match="they are of a training form"):
        hvjax.save_weights(path, variables, model.clone(deploy=True))
    with pytest.raises(ValueError, match=r"expected variables .*got \['head', 'stage1'"):
        hvjax.save_weights(path, variables["params"])
    assert not path.exists()


def test_a_model_that_the_registry_cannot_build_is_not_written(path: Path, model: Backbone) -> None:
    with pytest.raises(ValueError, match=r"not made by hvjax\.create_model"):
        hvjax.save_weights(path, random_variables(model), model.clone(variant=""))
    assert not path.exists()


def test_loading_into_another_model_names_both(path: Path, model: Backbone) -> None:
    hvjax.save_weights(path, random_variables(model), model)
    other = hvjax.create_model("next_vit_s", **NEXT_VIT)
    with pytest.raises(ValueError, match=r"resnet50, num_classes=3, depths=.*training form") as caught:
        hvjax.load_weights(path, other)
    message = str(caught.value)
    assert str(path) in message
    assert "not the variables of next_vit_s (1000 classes, training form)" in message
    assert "missing: " in message
    assert "unexpected: " in message


def rewrite(path: Path, model: Backbone, metadata: dict[str, str], **changes: np.ndarray | None) -> None:
    """Write a weights file by hand, with tensors changed (or removed: None) and metadata replaced."""
    tensors = {"/".join(name): leaf for name, leaf in flatten(random_variables(model)).items()}
    tensors = {name: leaf for name, leaf in (tensors | changes).items() if leaf is not None}
    hvjax.save_weights(path, random_variables(model), model)
    overrides = json.dumps(read_info(path).overrides)
    ours = {
        "format": "1",
        "hvjax_version": "0.0.9",
        "model": "resnet50",
        "overrides": overrides,
        "deploy": "false",
    }
    save_file(tensors, path, metadata=ours | metadata)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"params/head/bias": None}, "missing: params.head.bias (3,)"),
        ({"params/head/bias": np.ones(4)}, "misshapen: params.head.bias is (4,), expected (3,)"),
        ({"params/neck/bias": np.ones(4)}, "unexpected: params.neck.bias (4,)"),
    ],
)
def test_tensors_that_do_not_fit(path: Path, model: Backbone, changes: dict, message: str) -> None:
    rewrite(path, model, {}, **changes)
    with pytest.raises(ValueError, match=re.escape(message)):
        hvjax.load_weights(path)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"model": "resnet51"}, "there is no model 'resnet51'; did you mean resnet50"),
        ({"overrides": '{"depth": 3}'}, "has no field 'depth'; did you mean depths"),
        ({"overrides": '{"num_classes": -1}'}, "num_classes=-1"),
        ({"deploy": "true"}, "they are of a training form"),
    ],
)
def test_metadata_that_no_model_fits(path: Path, model: Backbone, metadata: dict, message: str) -> None:
    rewrite(path, model, metadata)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        hvjax.load_weights(path)
    assert str(path) in str(caught.value)


def test_torch_checkpoints_are_sent_to_load_torch(path: Path) -> None:
    save_file({"conv1.weight": np.ones((2, 3, 7, 7), np.float32)}, path, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"hvjax\.load_torch"):
        hvjax.load_weights(path)
