"""A classifier's weights in the backbone of a segmenter, and a segmenter's in one of other classes."""

import warnings

import dense_models
import jax
import numpy as np
import pytest

import hvjax
from hvjax.adapt import adapt
from hvjax.dense.start import from_classifier
from hvjax.dense.taps import classifier_of
from hvjax.ops.trees import flatten
from hvjax.structure import check_variables


def classifier(name, **changes):
    model = hvjax.create_model(name, **{**dense_models.BACKBONES[name], "num_classes": 7, **changes})
    return model, dense_models.draw_variables(model)


@pytest.mark.parametrize("deploy", [False, True])
@pytest.mark.parametrize("name", ["resnet50", "next_vit_s", "swin_t"])
def test_the_backbone_is_the_classifier_and_the_rest_is_drawn(name, deploy):
    donor, variables = classifier(name, deploy=deploy)
    model = dense_models.small(f"{name}+semantic_fpn", deploy=deploy)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing had to be adapted
        ours = from_classifier(variables, donor, model, jax.random.key(3))
    check_variables(model, ours)
    theirs = flatten(variables)
    drawn = flatten(model.init(jax.random.key(3), dense_models.draw_images(model)))
    for path, leaf in flatten(ours).items():
        kind, first, *rest = path
        wanted = theirs[kind, *rest] if first == "backbone" else drawn[path]
        np.testing.assert_array_equal(leaf, wanted)


def test_norms_of_stages_are_drawn_unless_the_classifier_has_them():
    model = dense_models.small("next_vit_s+semantic_fpn", backbone={"stage_norms": True})
    for known in (False, True):
        donor, variables = classifier("next_vit_s", stage_norms=known)
        inside = from_classifier(variables, donor, model)["params"]["backbone"]
        wanted = variables["params"]["stage_norm2"]["scale"] if known else 1.0
        assert np.all(np.asarray(inside["stage_norm2"]["scale"]) == wanted)
        stem = variables["params"]["stem"]["unit1"]["conv"]["kernel"]
        np.testing.assert_array_equal(inside["stem"]["unit1"]["conv"]["kernel"], stem)


def test_other_images():
    """Kernels for another number of channels, tables for another size, and a warning for each."""
    donor, variables = classifier("cmt_s", image_size=(32, 64))
    changes = {"image_size": (64, 32), "in_channels": 1}
    model = dense_models.small("cmt_s+semantic_fpn", backbone=changes)
    with pytest.warns(UserWarning, match="3 image channels; 4 tables of positions"):
        ours = from_classifier(variables, donor, model)
    check_variables(model, ours)
    with pytest.warns(UserWarning, match="tables of positions"):
        wanted = adapt(variables, donor, hvjax.create_model("cmt_s", **_small_cmt(changes)))
    got, want = (tree["params"] for tree in (ours, wanted))
    np.testing.assert_array_equal(
        got["backbone"]["stage1"]["relative_position"], want["stage1"]["relative_position"]
    )


def _small_cmt(changes):
    return {**dense_models.BACKBONES["cmt_s"], "num_classes": 7, **changes}


@pytest.mark.parametrize(
    ("donor", "changes", "message"),
    [
        ("swin_t", {}, r"weights of swin_t are not of the backbone of resnet50\+semantic_fpn$"),
        ("resnet50", {"depths": (1, 1, 1, 1)}, "missing: params.stage2.block2"),
        ("resnet50", {"depths": (2, 2, 1, 1)}, "unexpected: params.stage1.block2"),
        ("resnet50", {"widths": (8, 8, 16, 8)}, "misshapen: params.stage4"),
        (
            "resnet50",
            {"deploy": True},
            r"resnet50 has the deploy form, and resnet50\+semantic_fpn the training",
        ),
    ],
)
def test_another_network_is_refused(donor, changes, message):
    model = dense_models.small("resnet50+semantic_fpn")
    found, variables = classifier(donor, **changes)
    with pytest.raises(ValueError, match=message):
        from_classifier(variables, found, model)


def test_the_classifier_of_a_model_has_what_is_published():
    model = hvjax.create_model("next_vit_s+upernet", backbone={"stage_norms": True, "drop_path_rate": 0.2})
    assert classifier_of(model) == hvjax.create_model("next_vit_s", drop_path_rate=0.2)


@pytest.mark.parametrize("name", ["resnet50+semantic_fpn", "cmt_s+semantic_fpn"])
def test_other_classes_keep_everything_but_the_last_layer(name):
    donor = dense_models.small(name)
    sizes = {"backbone": {"image_size": (64, 32)}} if "cmt" in name else {}
    model = dense_models.small(name, num_classes=9, **sizes)
    variables = dense_models.draw_variables(donor)
    with pytest.warns(UserWarning, match=r"head\.classify\.conv is drawn at random \(5 classes .* 9 in the"):
        ours = flatten(adapt(variables, donor, model, jax.random.key(0)))
    check_variables(model, hvjax.ops.trees.unflatten(ours))
    changed = {p for p, leaf in flatten(variables).items() if not np.array_equal(leaf, ours[p])}
    tables = {p for p in changed if p[-1] == "relative_position"}
    assert {p[1:4] for p in changed - tables} == {("head", "classify", "conv")}
    assert bool(tables) == bool(sizes)


def test_there_are_no_published_weights_of_a_segmenter():
    with pytest.raises(ValueError, match=r"known for swin_t\+upernet; those of its backbone come in by"):
        hvjax.load_pretrained("swin_t+upernet")
    with pytest.raises(ValueError, match="there is no head 'upernot'"):
        hvjax.load_pretrained("swin_t+upernot")
