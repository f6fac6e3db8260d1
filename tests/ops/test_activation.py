"""Activation functions against the mathematics."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from hvjax.ops.activation import gelu

POINTS = np.array([-6.0, -1.5, -0.3, 0.0, 0.4, 1.0, 2.5, 7.0])


def test_gelu_is_the_exact_form():
    expected = [x * 0.5 * math.erfc(-x / math.sqrt(2)) for x in POINTS]
    with jax.enable_x64(True):
        ours = gelu(jnp.asarray(POINTS))
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-14)  # float64: a few last digits
        tanh_form = jax.nn.gelu(jnp.asarray(POINTS), approximate=True)
        assert np.abs(ours - tanh_form).max() > 1e-4  # the two forms can be told apart


def test_gelu_keeps_the_type():
    for dtype in (jnp.bfloat16, jnp.float16, jnp.float32):
        assert gelu(jnp.ones(3, dtype)).dtype == dtype
