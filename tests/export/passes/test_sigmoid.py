"""The logistic function is one Sigmoid; its relatives are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

Check = Callable[..., Any]
X = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)


@pytest.mark.parametrize(
    "fn", [jax.nn.sigmoid, lambda x: 1 / (1 + jnp.exp(-x)), lambda x: 1 / (jnp.exp(-x) + 1)]
)
def test_sigmoid(fn: Callable, same_as_jax: Check, operators: Check) -> None:
    assert operators(same_as_jax(fn, X)) == ["Sigmoid"]


def test_silu_is_two_nodes(same_as_jax: Check, operators: Check) -> None:
    assert operators(same_as_jax(jax.nn.silu, X)) == ["Sigmoid", "Mul"]


def test_the_exponential_may_be_an_output_too(same_as_jax: Check, operators: Check) -> None:
    def fn(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        e = jnp.exp(-x)
        return 1 / (1 + e), e

    assert sorted(operators(same_as_jax(fn, X))) == ["Exp", "Neg", "Sigmoid"]


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: 2 / (1 + jnp.exp(-x)),
        lambda x: 1 / (2 + jnp.exp(-x)),
        lambda x: 1 / (1 + jnp.exp(x)),
        lambda x: 1 / (1 - jnp.exp(-x)),
    ],
)
def test_not_sigmoid(fn: Callable, same_as_jax: Check, operators: Check) -> None:
    assert "Sigmoid" not in operators(same_as_jax(fn, X + 3))
