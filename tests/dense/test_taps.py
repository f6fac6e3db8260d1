"""What a head sees of its backbone: the stages without the tail, normalised as asked."""

import re

import dense_models
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hvjax
from hvjax.dense.taps import backbone_row
from hvjax.models.features import STAGES
from hvjax.structure import abstract_variables

PARTS = r"stem|inner_pos|outer_pos|stage[1-4]|stage_norm[1-4]|merge[1-3]|patch_embed[1-4]"


@pytest.mark.parametrize("backbone", dense_models.BACKBONES)
def test_the_backbone_has_no_tail(backbone):
    """Its tensors are those of the classifier up to the last block."""
    model = dense_models.small(f"{backbone}+semantic_fpn")
    inside = abstract_variables(model)["params"]["backbone"]
    assert all(re.fullmatch(PARTS, name) for name in inside), list(inside)
    classifier = hvjax.create_model(backbone, **dense_models.BACKBONES[backbone])
    whole = abstract_variables(classifier)["params"]
    assert inside == {name: whole[name] for name in inside}
    assert set(whole) - set(inside) <= {"norm", "head", "expand", "final_conv"}


def test_taps_are_the_stages_of_the_classifier():
    model = dense_models.small("resnet50+semantic_fpn")
    variables, images = dense_models.draw_variables(model), dense_models.draw_images(model)
    taps = jax.jit(lambda v, x: model.apply(v, x, method="taps"))(variables, images)
    inside = {kind: tree["backbone"] for kind, tree in variables.items()}
    backbone = hvjax.create_model("resnet50", **dense_models.BACKBONES["resnet50"], num_classes=0)
    features = jax.jit(lambda v, x: backbone.apply(v, x, method="features", tail=False))(inside, images)
    assert set(features) == set(STAGES)
    for i, tap in enumerate(taps, 1):
        np.testing.assert_array_equal(tap, features[f"stage{i}"])
    assert model.strides == (4, 8, 16, 32)


@pytest.mark.parametrize(("kind", "axes"), [("batch", (0, 1, 2)), ("layer", 3), ("group", (1, 2, 3))])
def test_output_norms(kind, axes):
    """Statistics of each channel, position or image become those of a norm."""
    model = dense_models.small("resnet50+semantic_fpn", output_norms=kind)
    images = dense_models.draw_images(model)
    variables = dense_models.draw_variables(model)
    norms = variables["params"]["output_norms"]
    for norm in norms.values():
        norm["scale"], norm["bias"] = np.ones_like(norm["scale"]), np.zeros_like(norm["bias"])
    run = jax.jit(lambda v, x: model.apply(v, x, train=True, method="taps", mutable=["batch_stats"])[0])
    for tap in run(variables, images):
        np.testing.assert_allclose(tap.mean(axes), 0, atol=1e-5)
        # at a position where all channels are equal there is nothing to scale; epsilon acts on small ones
        assert float(jnp.median(tap.std(axes))) == pytest.approx(1, abs=0.01)
    assert set(norms) == {"norm1", "norm2", "norm3", "norm4"}


@pytest.mark.parametrize(
    ("backbone", "epsilon"), [("uniformer_s", 1e-6), ("convnext_t", 1e-6), ("swin_t", 1e-5)]
)
def test_output_norms_have_the_epsilon_of_their_authors(backbone, epsilon):
    model = dense_models.small(f"{backbone}+semantic_fpn")
    assert model.bind(abstract_variables(model)).output_norms.epsilon == epsilon


def test_a_config_of_something_else():
    with pytest.raises(ValueError, match="int is not the config of a backbone"):
        backbone_row(3)
