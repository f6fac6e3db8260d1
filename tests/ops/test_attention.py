"""Attention against the formula in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hvjax.ops.attention import dot_product_attention, merge_heads, split_heads


def formula(q, k, v, bias=0.0):
    scores = np.einsum("bqhd,bkhd->bhqk", q, k) / np.sqrt(q.shape[-1]) + bias
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return np.einsum("bhqk,bkhd->bqhd", weights / weights.sum(-1, keepdims=True), v)


@pytest.fixture
def inputs():
    rng = np.random.default_rng(0)
    return [rng.normal(size=(2, tokens, 3, 8)) for tokens in (6, 4, 4)]


# Rounding of the type, times a few for sums of 8 products and 4 weights.
@pytest.mark.parametrize(("dtype", "limit"), [(jnp.float32, 1e-6), (jnp.float16, 4e-3), (jnp.bfloat16, 3e-2)])
def test_formula(inputs, dtype, limit):
    ours = dot_product_attention(*(jnp.asarray(x, dtype) for x in inputs))
    assert ours.dtype == dtype
    np.testing.assert_allclose(np.asarray(ours, np.float64), formula(*inputs), rtol=0, atol=limit)


@pytest.mark.parametrize("shape", [(3, 6, 4), (2, 1, 6, 4)])
def test_bias_and_wider_values(inputs, shape):
    """A bias for each head, and one for each sample; values with more channels than keys."""
    q, k, v = inputs
    v, bias = np.concatenate([v, v[..., :3] ** 2], -1), np.random.default_rng(1).normal(size=shape)
    ours = dot_product_attention(*(jnp.asarray(x, jnp.float32) for x in (q, k, v, bias)))
    np.testing.assert_allclose(ours, formula(q, k, v, bias), rtol=0, atol=2e-6)  # float32, values up to 8


def test_large_scores_do_not_overflow_in_float16():
    x = jnp.full(
        (1, 2, 1, 64), 30.0, jnp.float16
    )  # unscaled scores are 57,600, their sum of two over the range
    assert bool(jnp.isfinite(dot_product_attention(2 * x, x, x)).all())


def test_softmax_is_float32(inputs):
    text = str(jax.make_jaxpr(dot_product_attention)(*(jnp.asarray(x, jnp.bfloat16) for x in inputs)))
    assert "f32[2,3,6,4] = exp" in text


def test_heads():
    x = jnp.arange(24.0).reshape(1, 2, 12)
    heads = split_heads(x, 3)
    assert heads.shape == (1, 2, 3, 4)
    assert np.array_equal(heads[0, 0, 1], [4, 5, 6, 7])
    assert np.array_equal(merge_heads(heads), x)
