"""A mean whose axes come back as ones is one node with keepdims; other reshapes stay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

Check = Callable[..., Any]
X = np.random.default_rng(0).standard_normal((2, 5, 4, 3)).astype(np.float32)


def squeezed(x: jax.Array) -> jax.Array:
    return jnp.tanh(x.mean((1, 2))[:, None, None, :])


@pytest.mark.parametrize("batches", [(), (1, 3)])
def test_restored_axes_are_kept(batches: tuple[int, ...], same_as_jax: Check, operators: Check) -> None:
    assert operators(same_as_jax(squeezed, X, batches=batches)) == ["ReduceMean", "Tanh"]


def test_behind_the_casts_of_a_float16_mean(same_as_jax: Check, operators: Check) -> None:
    def fn(x: jax.Array) -> jax.Array:
        half = x.astype(jnp.float16)
        mean = jnp.mean(half, (1, 2), dtype=jnp.float32).astype(jnp.float16)
        return (half * mean[:, None, None, :]).astype(jnp.float32)

    # float16: 11 bits, and products of numbers below 4
    assert "Reshape" not in operators(same_as_jax(fn, X, tolerance=5e-3))


def test_a_mean_that_is_an_output_too_is_not_changed(same_as_jax: Check, operators: Check) -> None:
    def fn(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        mean = x.mean((1, 2))
        return mean, jnp.tanh(mean[:, None, None, :])

    assert sorted(operators(same_as_jax(fn, X))) == ["ReduceMean", "Reshape", "Tanh"]


@pytest.mark.parametrize("shape", [(2, 3, 1, 1), (2, 1, 3), (1, 2, 1, 3)])
def test_other_reshapes_stay(shape: tuple[int, ...], same_as_jax: Check, operators: Check) -> None:
    assert "Reshape" in operators(same_as_jax(lambda x: jnp.tanh(x.mean((1, 2)).reshape(shape)), X))
