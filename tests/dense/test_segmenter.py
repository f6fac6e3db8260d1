"""Every backbone under a head: shapes, both forms, learning."""

import dense_models
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import hvjax
from hvjax.ops.trees import differences
from hvjax.structure import abstract_variables

LIMIT = 1e-5  # of both forms, relative to the largest score; measured: 2e-6


@pytest.mark.parametrize("backbone", dense_models.BACKBONES)
def test_any_backbone(backbone):
    """Traced only: scores at the size of the images, and a deploy form with the tree it declares."""
    model = dense_models.small(f"{backbone}+semantic_fpn")
    images = dense_models.draw_images(model, (97, 65))
    variables = abstract_variables(model)
    scores = jax.eval_shape(model.apply, variables, images)
    assert (scores.shape, scores.dtype) == ((*images.shape[:3], 5), jnp.float32)
    fused = jax.eval_shape(lambda v: hvjax.reparameterize(model, v)[1], variables)
    deploy = dense_models.small(f"{backbone}+semantic_fpn", deploy=True)
    assert model.clone(deploy=True) == deploy
    assert not differences(abstract_variables(deploy), fused)
    assert set(fused) == {"params"}


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("next_vit_s+semantic_fpn", {"backbone": {"stage_norms": True}}),
        ("resnet50+upernet", {"output_norms": "batch"}),
        ("swin_t+upernet", {"pool_scales": (1, 2)}),
        ("fastvit_sa12+semantic_fpn", {}),
    ],
)
def test_both_forms_are_one_function(name, changes):
    model = dense_models.small(name, **changes)
    variables, images = dense_models.draw_variables(model), dense_models.draw_images(model, (65, 49))
    deploy, fused = hvjax.reparameterize(model, variables)
    ours, theirs = (jax.jit(m.apply)(v, images) for m, v in ((deploy, fused), (model, variables)))
    assert ours.shape == (2, 65, 49, 5)
    assert float(jnp.abs(ours - theirs).max() / jnp.abs(theirs).max()) <= LIMIT
    assert hvjax.reparameterize(deploy, fused)[1] is fused


def test_scores_are_float32_in_low_precision():
    model = dense_models.small("resnet50+upernet", dtype=jnp.bfloat16)
    images = dense_models.draw_images(model)
    found = jax.eval_shape(
        lambda v, x: model.apply(v, x, method="outputs"), abstract_variables(model), images
    )
    assert {leaf.dtype for leaf in found.values()} == {jnp.dtype(jnp.float32)}
    maps = jax.eval_shape(lambda v, x: model.apply(v, x, method="taps"), abstract_variables(model), images)
    assert {leaf.dtype for leaf in maps} == {jnp.dtype(jnp.bfloat16)}


def test_dropout_and_stochastic_depth_act_in_training_only():
    model = dense_models.small("resnet50+semantic_fpn", backbone={"drop_path_rate": 0.5}, dropout_rate=0.5)
    variables, images = dense_models.draw_variables(model), dense_models.draw_images(model)

    @jax.jit
    def train(key):
        options = {"train": True, "mutable": ["batch_stats"], "rngs": {"dropout": key}}
        return model.apply(variables, images, **options)[0]

    one, same, other = (train(jax.random.key(i)) for i in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert not np.allclose(one, other)


def test_it_learns_a_drawn_image():
    """Colours are classes: the loss of both heads falls to a tenth, and the classes are found."""
    model = dense_models.small("resnet50+upernet", num_classes=3, dropout_rate=0.0)
    rng = np.random.default_rng(0)
    labels = np.kron(rng.integers(0, 3, (2, 4, 4)), np.ones((1, 16, 16), int))
    images = (np.eye(3)[labels] * 2 - 1 + rng.normal(0, 0.1, (*labels.shape, 3))).astype(np.float32)
    variables = model.init(jax.random.key(0), images)
    optimizer = optax.adam(1e-2)

    def loss(params, stats):
        variables = {"params": params, "batch_stats": stats}
        outputs, updated = model.apply(
            variables, images, train=True, method="outputs", mutable=["batch_stats"]
        )
        losses = [optax.softmax_cross_entropy_with_integer_labels(x, labels).mean() for x in outputs.values()]
        return losses[0] + 0.4 * losses[1], (updated["batch_stats"], outputs["logits"])

    @jax.jit
    def step(params, stats, state):
        (value, (stats, logits)), gradient = jax.value_and_grad(loss, has_aux=True)(params, stats)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), stats, state, value, logits

    params, stats = variables["params"], variables["batch_stats"]
    state, values, logits = optimizer.init(params), [], None
    for _ in range(60):
        params, stats, state, value, logits = step(params, stats, state)
        values.append(float(value))
    assert values[-1] < 0.1 * values[0], values
    assert logits is not None
    assert float((jnp.argmax(logits, -1) == labels).mean()) > 0.95
