"""Repeated operations are shared; similar ones are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Check = Callable[..., Any]
X = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)


def test_the_same_operation_twice_is_one(same_as_jax: Check, operators: Check) -> None:
    fn = lambda x: jnp.tanh(x) * x + jnp.tanh(x)  # noqa: E731
    assert operators(same_as_jax(fn, X)) == ["Tanh", "Mul", "Add"]


def test_both_may_be_outputs(same_as_jax: Check, operators: Check) -> None:
    found = operators(same_as_jax(lambda x: (jnp.tanh(x), jnp.tanh(x)), X))
    assert found.count("Tanh") == 1


def test_other_operands_attributes_or_types_are_other_operations(
    same_as_jax: Check, operators: Check
) -> None:
    def fn(x: jax.Array) -> tuple[jax.Array, ...]:
        y = jnp.exp(x)
        return x.sum(0), x.sum(1), x - y, y - x, x.astype(jnp.float16), x.astype(jnp.int32)

    found = operators(same_as_jax(fn, X))
    assert [found.count(kind) for kind in ("ReduceSum", "Sub", "Cast")] == [2, 2, 2]
