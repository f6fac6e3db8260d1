"""Our BatchNorm: the running statistics of PyTorch, and its errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hvjax.blocks.batch_norm import Affine, BatchNorm
from hvjax.blocks.form import Form


@pytest.fixture
def x():
    return jnp.asarray(np.random.default_rng(0).normal(2.0, 3.0, size=(2, 3, 4, 5)), jnp.float32)


def test_running_statistics_use_the_unbiased_variance(x):
    norm = BatchNorm(5)
    variables = norm.init(jax.random.key(0), x)
    _, updated = norm.apply(variables, x, train=True, mutable=["batch_stats"])
    flat = np.asarray(x, np.float64).reshape(-1, 5)
    np.testing.assert_allclose(updated["batch_stats"]["mean"], 0.1 * flat.mean(0), rtol=1e-5)
    np.testing.assert_allclose(updated["batch_stats"]["var"], 0.9 + 0.1 * flat.var(0, ddof=1), rtol=1e-5)


def test_training_normalises_and_evaluation_uses_what_was_kept(x):
    norm = BatchNorm(5)
    variables = norm.init(jax.random.key(0), x)
    trained, _ = norm.apply(variables, x, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(trained.mean((0, 1, 2)), np.zeros(5), atol=1e-6)
    np.testing.assert_allclose(trained.std((0, 1, 2)), np.ones(5), atol=1e-5)
    np.testing.assert_allclose(norm.apply(variables, x), x / np.sqrt(1 + 1e-5), rtol=1e-6)


def test_initialisation_leaves_the_statistics_alone(x):
    variables = BatchNorm(5).init(jax.random.key(0), x, train=True)
    assert np.array_equal(variables["batch_stats"]["mean"], np.zeros(5))
    assert np.array_equal(variables["batch_stats"]["var"], np.ones(5))


def test_types(x):
    norm = BatchNorm(5, Form(dtype=jnp.bfloat16))
    variables = norm.init(jax.random.key(0), x)
    coarse = x.astype(jnp.bfloat16)
    y, updated = norm.apply(variables, coarse, train=True, mutable=["batch_stats"])
    assert (y.dtype, norm.apply(variables, coarse).dtype) == (jnp.bfloat16, jnp.bfloat16)
    assert {leaf.dtype for leaf in jax.tree.leaves((variables, updated))} == {jnp.dtype(jnp.float32)}


def test_axis_name(x):
    """Each member of a mapped axis gets the statistics of all."""
    whole, part = BatchNorm(5), BatchNorm(5, Form(axis_name="device"))
    variables = whole.init(jax.random.key(0), x)
    y, updated = whole.apply(variables, x, train=True, mutable=["batch_stats"])

    def one(x):
        return part.apply(variables, x, train=True, mutable=["batch_stats"])

    parts, stats = jax.vmap(one, axis_name="device")(x[:, None])
    np.testing.assert_allclose(parts[:, 0], y, atol=1e-5)
    for ours, theirs in zip(jax.tree.leaves(stats), jax.tree.leaves(updated), strict=True):
        np.testing.assert_allclose(ours[1], theirs, rtol=1e-5)


def test_errors(x):
    norm = BatchNorm(5)
    variables = norm.init(jax.random.key(0), x)
    with pytest.raises(ValueError, match=r'mutable=\["batch_stats"\]'):
        norm.apply(variables, x, train=True)
    with pytest.raises(ValueError, match=r"more than one value per channel.*\(1, 1, 1, 5\)"):
        norm.apply(variables, x[:1, :1, :1], train=True, mutable=["batch_stats"])


def test_affine(x):
    variables = {"params": {"scale": jnp.full(5, 2.0), "bias": jnp.full(5, -1.0)}}
    np.testing.assert_allclose(Affine(5).apply(variables, x), 2 * x - 1, rtol=1e-6)
    assert jax.tree.map(jnp.shape, Affine(5).init(jax.random.key(0), x)) == {
        "params": {"scale": (5,), "bias": (5,)}
    }
