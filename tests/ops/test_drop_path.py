"""Stochastic depth: whole samples, right mean, one key one mask."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hvjax.ops.drop_path import drop_path


def test_samples_are_dropped_whole_and_scaled():
    x = jnp.ones((4000, 2, 2, 3))
    y = np.asarray(drop_path(x, 0.25, jax.random.key(0)))
    per_sample = y.reshape(len(y), -1)
    assert set(np.unique(per_sample)) == {np.float32(0), np.float32(1 / 0.75)}
    assert (per_sample == per_sample[:, :1]).all()
    # four standard errors of a count of 4000
    assert abs((per_sample[:, 0] == 0).mean() - 0.25) < 4 * (0.25 * 0.75 / 4000) ** 0.5


def test_rate_zero_is_the_identity():
    x = jnp.ones((2, 3))
    assert drop_path(x, 0.0, jax.random.key(0)) is x


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_wrong_rates(rate):
    with pytest.raises(ValueError, match=f"rate={rate}"):
        drop_path(jnp.ones((1,)), rate, jax.random.key(0))


def test_type_is_kept():
    assert drop_path(jnp.ones((2, 3), jnp.bfloat16), 0.5, jax.random.key(0)).dtype == jnp.bfloat16
