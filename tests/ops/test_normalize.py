"""Batch normalisation: values, and the derivative that is written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hvjax.ops.normalize import affine, layer_norm, normalize_batch, normalize_batch_over

EPSILON = 1e-5


@pytest.fixture
def inputs():
    rng = np.random.default_rng(0)
    x = rng.normal(3.0, 2.0, size=(4, 5, 6, 7))
    return x, rng.uniform(0.5, 1.5, 7), rng.normal(size=7), rng.normal(size=x.shape)


def plain(x, scale, bias):
    """The textbook, left to automatic differentiation."""
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    return (x - mean) / jnp.sqrt(var + EPSILON) * scale + bias


def test_value_and_gradients_in_float64(inputs):
    with jax.enable_x64(True):
        x, scale, bias, cotangent = map(jnp.asarray, inputs)

        def ours(x, scale, bias):
            return normalize_batch(x, scale, bias, EPSILON)[0]

        for index in range(3):
            gradients = [
                jax.grad(lambda *args, f=f: (f(*args) * cotangent).sum(), index)(x, scale, bias)
                for f in (ours, plain)
            ]
            np.testing.assert_allclose(*gradients, rtol=0, atol=1e-12)
        y, mean, var = normalize_batch(x, scale, bias, EPSILON)
        np.testing.assert_allclose(y, plain(x, scale, bias), rtol=0, atol=1e-12)
        np.testing.assert_allclose(mean, x.mean((0, 1, 2)), rtol=1e-12)
        np.testing.assert_allclose(var, x.var((0, 1, 2)), rtol=1e-12)


def test_large_means_keep_their_digits():
    """A mean 1000 times the deviation: the difference of squares would lose six of seven digits."""
    x = np.random.default_rng(0).normal(1000.0, 1.0, size=(8, 16, 16, 2))
    _, _, var = normalize_batch(jnp.asarray(x, jnp.float32), jnp.ones(2), jnp.zeros(2), EPSILON)
    np.testing.assert_allclose(var, x.var((0, 1, 2)), rtol=1e-3)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_statistics_are_float32(inputs, dtype):
    x, scale, bias, _ = inputs
    coarse = jnp.asarray(x, dtype)
    y, mean, var = normalize_batch(
        coarse, jnp.asarray(scale, jnp.float32), jnp.asarray(bias, jnp.float32), EPSILON
    )
    assert (y.dtype, mean.dtype, var.dtype) == (dtype, jnp.float32, jnp.float32)
    np.testing.assert_allclose(mean, np.asarray(coarse, np.float64).mean((0, 1, 2)), rtol=1e-5)
    gradient = jax.grad(
        lambda x: normalize_batch(x, jnp.ones(7), jnp.zeros(7), EPSILON)[0].astype(float).sum()
    )(coarse)
    assert gradient.dtype == dtype


def test_mapped_axis(inputs):
    x, scale, bias, _ = (jnp.asarray(a, jnp.float32) for a in inputs)
    whole = normalize_batch(x, scale, bias, EPSILON)
    halves = jax.vmap(
        lambda part: normalize_batch_over("half", part, scale, bias, EPSILON), axis_name="half"
    )(x.reshape(2, 2, *x.shape[1:]))
    np.testing.assert_allclose(halves[0].reshape(x.shape), whole[0], rtol=0, atol=1e-5)
    for part, total in zip(halves[1:], whole[1:], strict=True):
        np.testing.assert_allclose(part, np.broadcast_to(total, part.shape), rtol=1e-5)


def test_affine_computes_wide_and_returns_what_is_asked():
    x = jnp.full((1, 2), 300.0, jnp.float16)
    y = affine(x, jnp.full(2, 300.0), jnp.full(2, -89990.0), jnp.float16)
    assert y.dtype == jnp.float16
    assert np.array_equal(y, [[10.0, 10.0]])  # 90,000 is over the range of float16


def test_layer_norm_is_the_textbook(inputs):
    x, scale, bias, _ = inputs
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    expected = (x - mean) / np.sqrt(var + EPSILON) * scale + bias
    with jax.enable_x64(True):
        ours = layer_norm(jnp.asarray(x), jnp.asarray(scale), jnp.asarray(bias), EPSILON)
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-13)  # float64: a few last digits


def test_layer_norm_takes_statistics_in_float32():
    """Around 300 the squares do not fit float16; the result must not notice."""
    x = np.random.default_rng(1).normal(300.0, 1.0, size=(4, 64)).astype(np.float16)
    ones, zeros = jnp.ones(64), jnp.zeros(64)
    ours = layer_norm(jnp.asarray(x), ones, zeros, EPSILON)
    wide = layer_norm(jnp.asarray(x, jnp.float32), ones, zeros, EPSILON)
    assert ours.dtype == jnp.float16
    np.testing.assert_allclose(ours, wide, atol=2e-3)  # float16 keeps 11 bits of numbers up to 4
