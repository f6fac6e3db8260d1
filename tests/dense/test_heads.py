"""Names `BACKBONE+HEAD`: found, built, identified, saved, described, and refused where there is no such."""

from pathlib import Path

import dense_models
import jax
import numpy as np
import pytest

import hvjax
from hvjax.dense import HEADS
from hvjax.facts import describe
from hvjax.registry import get_spec, identify

NAME = "next_vit_s+semantic_fpn"


def test_lists():
    assert {"semantic_fpn", "upernet"} <= set(HEADS)
    assert not [name for name in hvjax.list_models() if "+" in name]


def test_rows():
    spec = get_spec("swin_t+upernet")
    assert spec.mean == get_spec("swin_t").mean
    assert spec.channels == get_spec("swin_t").channels
    assert spec.published == () and spec.pretrained == () and spec.timm is None
    assert spec.config.output_norms == "layer"
    assert get_spec("fastvit_sa12+upernet").config.output_norms == "batch"
    assert get_spec("convnext_t+upernet").config.output_norms == "layer"
    assert get_spec("poolformer_s12+mask_rcnn").config.output_norms == "group"
    assert get_spec("efficientformer_l3+semantic_fpn").config.output_norms == "group"
    assert get_spec("resnet50+upernet").config.output_norms == "none"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("next_vit_s+semantic_fpm", "there is no head 'semantic_fpm'; did you mean semantic_fpn"),
        ("next_vit_s+", "there is no head ''; known heads: semantic_fpn, upernet"),
        ("next_vit_s+upernet+upernet", "there is no head 'upernet\\+upernet'"),
        ("next_vit_x+upernet", "there is no model 'next_vit_x'; did you mean next_vit_"),
    ],
)
def test_unknown_names(name, message):
    with pytest.raises(ValueError, match=message):
        hvjax.create_model(name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"chanels": 8}, r"config of next_vit_s\+semantic_fpn has no field 'chanels'; did you mean channels"),
        (
            {"backbone": {"drop_path": 0.1}},
            "config of next_vit_s has no field 'drop_path'; did you mean drop",
        ),
        ({"backbone": 3}, "backbone=3: expected a mapping of fields"),
        ({"backbone": {"drop_path_rate": 2}}, "drop_path_rate=2"),
        ({"backbone": {"num_classes": 7}}, "num_classes=7 of the backbone: expected 0"),
        ({"num_classes": 0}, "num_classes=0: expected an integer >= 1"),
        ({"output_norms": "instance"}, "output_norms='instance': expected one of none, batch, layer, group"),
        ({"image_size": 64}, "has no field 'image_size'"),  # this backbone takes any
    ],
)
def test_wrong_fields(changes, message):
    with pytest.raises(ValueError, match=message):
        hvjax.create_model(NAME, **changes)


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        (NAME, {}),
        (NAME, {"num_classes": 7, "channels": 64, "backbone": {"drop_path_rate": 0.37, "stage_norms": True}}),
        ("pvt_tiny+upernet", {"backbone": {"image_size": (128, 96)}, "pool_scales": (1, 3)}),
        ("swin_b+semantic_fpn", {"output_norms": "none", "num_classes": 3}),
    ],
    ids=["plain", "next_vit", "tied", "swin"],
)
def test_identify_is_the_inverse_of_create(name, overrides):
    if name.startswith("pvt"):
        name = f"{next(n for n in hvjax.list_models('*pvt*'))}+upernet"
    model = hvjax.create_model(name, **overrides)
    assert identify(model) == (name, overrides)
    assert hvjax.create_model(name, **identify(model)[1]) == model


def test_backbones_that_are_made_for_one_image_size():
    """512 pixels a side unless told otherwise, as a field of the model or of its backbone."""
    assert hvjax.create_model("cmt_s+semantic_fpn").config.image_size == (512, 512)
    model = hvjax.create_model("cmt_s+semantic_fpn", image_size=64, backbone={"drop_path_rate": 0.0})
    assert model.config.image_size == model.config.backbone.image_size == (64, 64)
    assert identify(model)[1] == {"backbone": {"image_size": (64, 64), "drop_path_rate": 0.0}} or (
        identify(model)[1] == {"backbone": {"drop_path_rate": 0.0, "image_size": (64, 64)}}
    )
    assert not hasattr(hvjax.create_model(NAME).config, "image_size")
    with pytest.raises(
        ValueError, match=r"hvjax\.create_model\('cmt_s\+semantic_fpn', image_size=\(96, 96\)\)"
    ):
        model.apply({}, np.zeros((1, 96, 96, 3), np.float32))


@pytest.mark.parametrize("deploy", [False, True])
def test_a_weights_file_alone_rebuilds_model_and_variables(tmp_path: Path, deploy: bool):
    model = dense_models.small(
        "next_vit_s+upernet", deploy=deploy, pool_scales=(1, 2), backbone={"stage_norms": True}
    )
    variables = dense_models.draw_variables(model)
    hvjax.save_weights(tmp_path / "w.safetensors", variables, model, class_names=list("abcde"))
    found, loaded = hvjax.load_weights(tmp_path / "w.safetensors")
    assert found == model
    jax.tree.map(np.testing.assert_array_equal, loaded, variables)


def test_variables_of_another_model_are_refused():
    model, other = dense_models.small("resnet50+upernet"), dense_models.small("resnet50+semantic_fpn")
    with pytest.raises(
        ValueError, match=r"not the variables of resnet50\+upernet \(5 classes, training form\)"
    ):
        hvjax.reparameterize(model, dense_models.draw_variables(other))


def test_description():
    facts = describe("resnet50+upernet", image_size=64, channels=8, backbone={"widths": (8, 8, 16, 16)})
    assert facts.features["stage2"] == (32, 8)
    assert facts.params_deploy < facts.params  # without the auxiliary head and the norms
    assert "MACs" in str(facts)


def test_checkpoints_of_whole_models_are_not_read():
    state = {"backbone.conv1.weight": np.ones((8, 3, 7, 7), np.float32)}
    with pytest.raises(ValueError, match=r"whole segmenters and detectors.*dense\.start\.from_classifier"):
        hvjax.load_torch(state, dense_models.small("resnet50+semantic_fpn"))
