"""Names, overrides, and the public face of the package."""

import dataclasses
import subprocess
import sys

import jax.numpy as jnp
import pytest

import hvjax
from hvjax.facts import describe
from hvjax.registry import MODELS, get_spec, identify
from hvjax.reparam.rules import Rule


def test_list_models():
    assert hvjax.list_models() == list(MODELS)
    assert hvjax.list_models("next_vit*") == ["next_vit_s", "next_vit_b", "next_vit_l"]
    assert hvjax.list_models("nothing*") == []


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("next_vit_x", "did you mean next_vit_"),
        ("Next-ViT-S", "did you mean next_vit_s"),
        ("ResNet50", "did you mean resnet50"),
        ("zzz", "known models: next_vit_s, next_vit_b"),
    ],
)
def test_unknown_model(name, hint):
    with pytest.raises(ValueError, match=f"there is no model '{name}'; {hint}"):
        hvjax.create_model(name)


def test_unknown_field():
    with pytest.raises(ValueError, match="no field 'num_clases'; did you mean num_classes"):
        hvjax.create_model("resnet50", num_clases=10)
    with pytest.raises(ValueError, match="no field 'zzz'; it has num_classes, in_channels"):
        hvjax.create_model("resnet50", zzz=10)


@pytest.mark.parametrize("dtype", [jnp.int32, "no type", None])
def test_wrong_type(dtype):
    with pytest.raises(ValueError, match="expected a floating-point type"):
        hvjax.create_model("resnet50", dtype=dtype)


@pytest.mark.parametrize("name", hvjax.list_models())
def test_identify_is_the_inverse_of_create(name):
    overrides = {"num_classes": 7, "drop_path_rate": 0.37}  # no row has these
    model = hvjax.create_model(name, dtype=jnp.bfloat16, **overrides)
    assert identify(model) == (name, overrides)
    assert hvjax.create_model(name, dtype=jnp.bfloat16, **identify(model)[1]) == model
    assert identify(hvjax.create_model(name, deploy=True)) == (name, {})


def test_identify_refuses_models_from_elsewhere():
    spec = MODELS["resnet50"]
    with pytest.raises(ValueError, match=r"was not made by hvjax.create_model"):
        identify(spec.model(config=spec.config))


@pytest.mark.parametrize("name", hvjax.list_models())
def test_rows_are_complete(name):
    """What training, export and the README take from a row is there."""
    spec = get_spec(name)
    assert dataclasses.is_dataclass(spec.config)
    # That the rules cover every batch norm is proved in test_fuse.py; a model without any has none.
    assert all(isinstance(rule, Rule) for rule in spec.fusion_rules(spec.config))
    assert spec.weight_tables(spec.config) or (spec.note and not spec.published)  # nobody published weights
    assert all(50 < result.top1 < 100 and result.source for result in spec.published)
    assert len(spec.channels) == len(spec.strides) == 5


def test_describe():
    facts = describe("next_vit_s", num_classes=10)
    assert facts.published == ()  # another model than the published one
    assert facts.features["stage3"] == (512, 16)
    text = str(describe("next_vit_s"))
    assert "31,763,368" in text
    assert "82.5 % top-1 at 224" in text
    with pytest.raises(ValueError, match="nearest size that works"):
        describe("next_vit_s", image_size=8)


def test_public_names():
    assert set(hvjax.__all__) <= set(dir(hvjax))
    assert all(callable(getattr(hvjax, name)) for name in hvjax.__all__)
    with pytest.raises(AttributeError, match="no attribute 'create_modle'"):
        _ = hvjax.create_modle


def test_import_has_no_side_effects():
    """`import hvjax` brings in neither jax nor flax, and the registry neither torch nor a device."""
    code = """
import sys, hvjax
assert not {"jax", "flax"} & set(sys.modules), sorted(sys.modules)
import hvjax.registry
assert not {"torch", "tensorflow", "optax"} & set(sys.modules)
from jax._src import xla_bridge as bridge
assert not bridge.backends_are_initialized()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
