"""Pooling: the fast maximum equals the window reduction, ties, infinities and not-a-number included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hvjax.ops.conv import plain_convolutions
from hvjax.ops.pooling import max_pool2d


@pytest.mark.parametrize(
    ("size", "window", "stride", "padding"),
    [
        ((8, 8), 3, 2, 1),
        ((7, 10), 3, 2, 1),
        ((5, 6), 2, 2, 0),
        ((9, 4), (3, 2), (1, 2), (1, 0)),
        ((6, 6), 2, 3, 1),
    ],
)
def test_the_fast_maximum_equals_the_window_reduction(size, window, stride, padding):
    """Value and gradient to the last bit, on data full of ties (as after a ReLU)."""
    random = np.random.default_rng(0)
    x = jnp.asarray(np.maximum(random.integers(-3, 4, (2, *size, 3)), 0), jnp.float32)

    @jax.jit
    def run(x):
        y, pull = jax.vjp(lambda x: max_pool2d(x, window, stride, padding=padding), x)
        return y, *pull(jnp.arange(y.size, dtype=y.dtype).reshape(y.shape))

    fast = run(x)
    with plain_convolutions():
        plain = run(x)
        assert "reduce_window_max" in str(jax.make_jaxpr(run)(x))
    assert "reduce_window_max" not in str(jax.make_jaxpr(run)(x))
    for a, b in zip(fast, plain, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_maximum_passes_on_infinities_and_nan():
    x = jnp.zeros((1, 4, 4, 1)).at[0, 0, 0].set(jnp.nan).at[0, 2, 3].set(-jnp.inf).at[0, 3, 3].set(jnp.inf)
    x = x.at[0, 3, 0].set(jnp.nan)
    y = np.asarray(max_pool2d(x, 2, 2))[0, :, :, 0]
    np.testing.assert_array_equal(y, [[np.nan, 0], [np.nan, np.inf]])
