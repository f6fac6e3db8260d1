"""Layers: parameter names and shapes, and what they compute."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hvjax.blocks.attention import ReducedAttention
from hvjax.blocks.form import Form
from hvjax.blocks.layer_norm import LayerNorm
from hvjax.blocks.layers import Conv, ConvNorm, Dense, DropPath, LayerScale
from hvjax.blocks.mlp import ConvMlp, Mlp


@pytest.fixture
def x():
    return jnp.asarray(np.random.default_rng(0).normal(size=(2, 6, 5, 8)), jnp.float32)


def shapes(module, x):
    return jax.tree.map(jnp.shape, module.init(jax.random.key(0), x))


def test_conv_pads_both_sides_alike(x):
    """Stride 2 on an even size: the first window starts one pixel before the image, as in PyTorch."""
    conv = Conv(8, 4, 3, stride=2, padding=1, use_bias=False)
    assert shapes(conv, x) == {"params": {"kernel": (3, 3, 8, 4)}}
    ones = {"params": {"kernel": jnp.ones((3, 3, 8, 4))}}
    y = conv.apply(ones, x)
    assert y.shape == (2, 3, 3, 4)
    np.testing.assert_allclose(y[:, 0, 0, 0], x[:, :2, :2].sum((1, 2, 3)), rtol=1e-4, atol=1e-5)


def test_conv_norm_in_both_forms(x):
    trained, deployed = (
        ConvNorm(8, 4, 3, padding=1, groups=2),
        ConvNorm(8, 4, 3, padding=1, groups=2, form=Form(deploy=True)),
    )
    assert shapes(trained, x) == {
        "params": {"conv": {"kernel": (3, 3, 4, 4)}, "norm": {"scale": (4,), "bias": (4,)}},
        "batch_stats": {"norm": {"mean": (4,), "var": (4,)}},
    }
    assert shapes(deployed, x) == {"params": {"conv": {"kernel": (3, 3, 4, 4), "bias": (4,)}}}


def test_dense(x):
    dense = Dense(8, 3)
    variables = dense.init(jax.random.key(0), x)
    variables["params"]["bias"] = jnp.arange(3.0)
    np.testing.assert_allclose(
        dense.apply(variables, x),
        np.asarray(x) @ np.asarray(variables["params"]["kernel"]) + np.arange(3),
        atol=1e-5,
    )


def test_mlp_is_two_pointwise_convolutions(x):
    mlp = ConvMlp(8, 16)
    assert shapes(mlp, x)["params"] == {
        "fc1": {"kernel": (1, 1, 8, 16), "bias": (16,)},
        "fc2": {"kernel": (1, 1, 16, 8), "bias": (8,)},
    }
    variables = mlp.init(jax.random.key(0), x)
    moved = jnp.roll(x, 1, axis=2)
    np.testing.assert_allclose(
        mlp.apply(variables, moved), jnp.roll(mlp.apply(variables, x), 1, axis=2), atol=1e-6
    )


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_types(x, dtype):
    """Parameters are float32, results of the asked type."""
    form = Form(dtype=dtype)
    tokens = x.reshape(2, 30, 8)
    cases = [
        (ConvNorm(8, 4, form=form), x),
        (Dense(8, 4, form), x),
        (ConvMlp(8, 16, form), x),
        (ReducedAttention(8, 2, 2, form), tokens),
    ]
    for module, inputs in cases:
        variables = module.init(jax.random.key(0), inputs)
        assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
        assert module.apply(variables, inputs).dtype == dtype


def test_drop_path_blocks_draw_apart(x):
    """Two places in one network drop different samples; evaluation drops none."""
    import flax.linen as nn

    class Twice(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            ones = jnp.ones((64, 1))
            return DropPath(0.5, name="a")(ones, train=train), DropPath(0.5, name="b")(ones, train=train)

    a, b = Twice().apply({}, x, True, rngs={"dropout": jax.random.key(0)})
    assert not np.array_equal(a, b)
    assert np.array_equal(Twice().apply({}, x, False)[0], np.ones((64, 1)))


@pytest.mark.parametrize("reduction", [1, 2])
def test_attention(x, reduction):
    tokens = x.reshape(2, 30, 8)
    attention = ReducedAttention(8, 2, reduction, Form())
    variables = attention.init(jax.random.key(0), tokens)
    assert ("norm" in variables["params"]) == (reduction > 1)
    assert (
        "norm"
        not in ReducedAttention(8, 2, reduction, Form(deploy=True)).init(jax.random.key(0), tokens)["params"]
    )
    assert attention.apply(variables, tokens).shape == tokens.shape
    # keys and values are means of runs of tokens: their order within a run does not matter to the others
    mixed = tokens.at[:, [0, 1]].set(tokens[:, [1, 0]])
    ours, theirs = attention.apply(variables, tokens), attention.apply(variables, mixed)
    np.testing.assert_allclose(ours[:, 2:], theirs[:, 2:], atol=1e-6)


def test_layer_scale(x):
    scale = LayerScale(8, 1e-5)
    variables = scale.init(jax.random.key(0), x)
    assert shapes(scale, x) == {"params": {"gamma": (8,)}}
    np.testing.assert_allclose(scale.apply(variables, x), 1e-5 * x, rtol=1e-6)
    gamma = jnp.arange(8.0)
    np.testing.assert_allclose(scale.apply({"params": {"gamma": gamma}}, x), gamma * x, rtol=1e-6)


def test_layer_norm(x):
    norm = LayerNorm(8, 1e-6)
    assert shapes(norm, x) == {"params": {"scale": (8,), "bias": (8,)}}
    y = np.asarray(norm.apply(norm.init(jax.random.key(0), x), x))
    np.testing.assert_allclose(y.mean(-1), 0, atol=1e-6)
    np.testing.assert_allclose(y.std(-1), 1, atol=1e-4)
    half = LayerNorm(8, 1e-6, Form(dtype=jnp.bfloat16))
    assert half.apply(half.init(jax.random.key(0), x), x).dtype == jnp.bfloat16


def test_mlp_has_an_exact_gelu(x):
    mlp = Mlp(8, 16)
    variables = mlp.init(jax.random.key(0), x)
    assert shapes(mlp, x)["params"]["fc1"] == {"kernel": (8, 16), "bias": (16,)}
    fc1, fc2 = variables["params"]["fc1"], variables["params"]["fc2"]
    hidden = jax.nn.gelu(x @ fc1["kernel"] + fc1["bias"], approximate=False)
    np.testing.assert_allclose(mlp.apply(variables, x), hidden @ fc2["kernel"] + fc2["bias"], atol=1e-6)


def test_dense_without_bias(x):
    assert shapes(Dense(8, 4, use_bias=False), x) == {"params": {"kernel": (8, 4)}}
