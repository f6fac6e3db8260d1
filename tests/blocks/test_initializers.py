"""Start values: distributions, and that drawing together changes nothing but the time it takes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hvjax
from hvjax.blocks.initializers import (
    kaiming_normal_fan_out,
    normal,
    uniform_fan_in,
    uniform_within,
    xavier_uniform,
)

SHAPE = (3, 3, 32, 64)


@pytest.mark.parametrize(
    ("init", "deviation"),
    [
        (normal(0.02), 0.02),
        (kaiming_normal_fan_out(), (2 / (9 * 64)) ** 0.5),
        (uniform_within(0.3), 0.3 / 3**0.5),
        (uniform_fan_in(), (9 * 32) ** -0.5 / 3**0.5),
        (xavier_uniform(), (2 / (9 * (32 + 64))) ** 0.5),
    ],
)
def test_alone(init, deviation):
    """Used one by one they are ordinary initialisers."""
    values = init(jax.random.key(0), SHAPE, jnp.float32)
    assert values.shape == SHAPE
    assert values.dtype == jnp.float32
    # four standard errors of the deviation of a normal distribution, the widest here
    assert abs(float(values.std()) / deviation - 1) < 4 / (2 * values.size) ** 0.5


@pytest.fixture
def model():
    return hvjax.create_model(
        "next_vit_s",
        blocks=("C", "C", "C", "T"),
        conv_channels=(32,) * 4,
        transformer_channels=(128,) * 4,
        num_classes=3,
    )


def test_init_is_the_same_under_jit_and_for_old_keys(model):
    images = np.zeros((1, 32, 32, 3), np.float32)
    variables = model.init(jax.random.key(3), images)
    for other in (
        jax.jit(model.init)(jax.random.key(3), images),
        model.init(jax.random.PRNGKey(3), images),
        model.init({"params": jax.random.key(3), "dropout": jax.random.key(0)}, images, train=True),
    ):
        assert jax.tree.structure(other) == jax.tree.structure(variables)
        assert all(map(np.array_equal, jax.tree.leaves(other), jax.tree.leaves(variables)))
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(variables))
    different = model.init(jax.random.key(4), images)
    assert not np.array_equal(different["params"]["head"]["kernel"], variables["params"]["head"]["kernel"])


def test_no_two_tensors_share_numbers(model):
    params = model.init(jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32))["params"]
    kernels = [np.ravel(leaf) for path, leaf in jax.tree.leaves_with_path(params) if path[-1].key == "kernel"]
    starts = [tuple(kernel[:3]) for kernel in kernels]
    assert len(set(starts)) == len(kernels) > 10


def test_abstract_and_eager_trees_agree(model):
    images = np.zeros((1, 32, 32, 3), np.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    real = model.init(jax.random.key(0), images)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), shapes) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), real
    )
