"""What a head sees of its backbone: the stages without the tail, normalised or frozen as asked."""

import re

import dense_models
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hvjax
from hvjax.dense.taps import BEFORE_STAGE_1, backbone_row, is_frozen
from hvjax.models.features import STAGES
from hvjax.structure import abstract_variables

AFTER_STAGE_1 = r"stage[1-4]|stage_norm[1-4]|merge[1-3]|patch_embed[2-4]"


@pytest.mark.parametrize("backbone", dense_models.BACKBONES)
def test_the_backbone_has_no_tail(backbone):
    """Its tensors are those of the classifier before the final norm; what is before stage 1 is known."""
    model = dense_models.small(f"{backbone}+semantic_fpn")
    inside = abstract_variables(model)["params"]["backbone"]
    others = [name for name in inside if name not in BEFORE_STAGE_1]
    assert all(re.fullmatch(AFTER_STAGE_1, name) for name in others), others
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


@pytest.mark.parametrize("kind", ["batch", "layer"])
def test_output_norms(kind):
    """Statistics of each channel or of each position become those of a norm."""
    model = dense_models.small("resnet50+semantic_fpn", output_norms=kind)
    images = dense_models.draw_images(model)
    variables = dense_models.draw_variables(model)
    norms = variables["params"]["output_norms"]
    for norm in norms.values():
        norm["scale"], norm["bias"] = np.ones_like(norm["scale"]), np.zeros_like(norm["bias"])
    run = jax.jit(lambda v, x: model.apply(v, x, train=True, method="taps", mutable=["batch_stats"])[0])
    for tap in run(variables, images):
        axes = (0, 1, 2) if kind == "batch" else 3
        np.testing.assert_allclose(tap.mean(axes), 0, atol=1e-5)
        # at a position where all channels are equal there is nothing to scale; epsilon acts on small ones
        assert float(jnp.median(tap.std(axes))) == pytest.approx(1, abs=0.01)
    assert set(norms) == {"norm1", "norm2", "norm3", "norm4"}


def test_frozen_stages_and_norms():
    """No gradient and no new statistics where the config says so, and both everywhere else."""
    backbone = {"drop_path_rate": 0.9}
    model = dense_models.small("resnet50+semantic_fpn", backbone=backbone, frozen_stages=2, frozen_norms=True)
    variables, images = dense_models.draw_variables(model), dense_models.draw_images(model)

    @jax.jit
    def gradient(params, key):
        def loss(params):
            logits, updated = model.apply(
                {**variables, "params": params},
                images,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": key},
            )
            return (logits**2).mean(), (updated["batch_stats"], logits)

        return jax.grad(loss, has_aux=True)(params)

    seen = []
    for seed in range(3):
        found, (stats, _) = gradient(variables["params"], jax.random.key(seed))
        seen.append(found)
        jax.tree.map(np.testing.assert_array_equal, stats["backbone"], variables["batch_stats"]["backbone"])
        changed = jax.tree.map(
            lambda a, b: not np.array_equal(a, b), stats["head"], variables["batch_stats"]["head"]
        )
        assert all(jax.tree.leaves(changed))
    for path, leaf in jax.tree.leaves_with_path(jax.tree.map(lambda *g: sum(map(jnp.abs, g)), *seen)):
        names = [entry.key for entry in path]
        assert is_frozen(names, model.config) == (names[0] == "backbone" and names[1] in FROZEN)
        assert bool(jnp.any(leaf)) != is_frozen(names, model.config), names


FROZEN = ("stem", "stage1", "stage2")


def test_frozen_stages_have_no_stochastic_depth():
    model = dense_models.small(
        "resnet50+semantic_fpn", backbone={"drop_path_rate": 0.9}, frozen_stages=4, frozen_norms=True
    )
    variables, images = dense_models.draw_variables(model), dense_models.draw_images(model)
    still = jax.jit(lambda v, x: model.apply(v, x, method="taps"))(variables, images)
    options = {"train": True, "mutable": ["batch_stats"], "rngs": {"dropout": jax.random.key(0)}}
    trained = jax.jit(lambda v, x: model.apply(v, x, method="taps", **options)[0])(variables, images)
    for a, b in zip(still, trained, strict=True):
        np.testing.assert_array_equal(a, b)


def test_nothing_is_frozen_by_default():
    model = dense_models.small("resnet50+semantic_fpn")
    assert not is_frozen(("backbone", "stem", "conv", "kernel"), model.config)


def test_a_config_of_something_else():
    with pytest.raises(ValueError, match="int is not the config of a backbone"):
        backbone_row(3)
