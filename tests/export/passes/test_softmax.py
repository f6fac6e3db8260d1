"""Softmax is recognised however it is written, and nothing else is taken for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

Check = Callable[..., Any]
HALF_TOLERANCE = 2e-3  # one float16 rounding is 5e-4


def _draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def _by_hand(x: jax.Array) -> jax.Array:
    e = jnp.exp(x - jnp.max(x, -1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("fn", [jax.nn.softmax, lambda x: jax.nn.softmax(x, axis=1), _by_hand])
def test_softmax(fn: Callable, same_as_jax: Check, operators: Check) -> None:
    assert operators(same_as_jax(fn, _draw(2, 3, 4))) == ["Softmax"]


def _moved_between(order: tuple[int, ...]) -> Callable[[jax.Array], jax.Array]:
    """As jax.vmap writes it: the maximum is of `x` as it was, the rest of `x` with its axes moved."""

    def fn(x: jax.Array) -> jax.Array:
        peak, x = jnp.max(x, -1).transpose(order), x.transpose(1, 0, 2)
        e = jnp.exp(x - peak[..., None])
        return e / e.sum(-1, keepdims=True)

    return fn


def test_softmax_of_moved_axes(same_as_jax: Check, operators: Check) -> None:
    x = _draw(3, 3, 4)
    assert operators(same_as_jax(_moved_between((1, 0)), x)) == ["Softmax", "Transpose"]
    attention = same_as_jax(lambda x: jax.nn.dot_product_attention(x, x, x), _draw(2, 5, 3, 4))
    assert operators(attention).count("Softmax") == 1 and "Exp" not in operators(attention)


def test_not_softmax_with_the_maximum_of_another_row(same_as_jax: Check, operators: Check) -> None:
    assert "Softmax" not in operators(same_as_jax(_moved_between((0, 1)), _draw(3, 3, 4)))


def test_a_half_precision_softmax_stays_in_float32(same_as_jax: Check, operators: Check) -> None:
    def fn(x: jax.Array) -> jax.Array:
        return jax.nn.softmax(x.astype(jnp.float32)).astype(x.dtype)

    model = same_as_jax(fn, 8 * _draw(2, 64).astype(np.float16), tolerance=HALF_TOLERANCE)
    assert operators(model) == ["Cast", "Softmax", "Cast"]


def test_a_softmax_of_half_precision_numbers(same_as_jax: Check, operators: Check) -> None:
    """JAX sums the exponentials in float32 and narrows the sum."""
    x = 8 * _draw(2, 64).astype(np.float16)
    assert operators(same_as_jax(jax.nn.softmax, x, tolerance=HALF_TOLERANCE)) == ["Softmax"]


def test_not_softmax_with_a_sum_that_is_rounded(same_as_jax: Check, operators: Check) -> None:
    def fn(x: jax.Array) -> jax.Array:
        e = jnp.exp(x - jnp.max(x, -1, keepdims=True))
        return e / e.astype(jnp.int32).astype(jnp.float32).sum(-1, keepdims=True)

    assert "Softmax" not in operators(same_as_jax(fn, _draw(2, 64)))


def _other_axis(x: jax.Array) -> jax.Array:
    e = jnp.exp(x - jnp.max(x, -1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def _other_sum(x: jax.Array) -> jax.Array:
    e = jnp.exp(x - jnp.max(x, -1, keepdims=True))
    return e / (2 * e).sum(-1, keepdims=True)


def _over_two_axes(x: jax.Array) -> jax.Array:
    return jax.nn.softmax(x, axis=(1, 2))


def _numerator_used_again(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    e = jnp.exp(x - jnp.max(x, -1, keepdims=True))
    return e / e.sum(-1, keepdims=True), e


@pytest.mark.parametrize("fn", [_other_axis, _other_sum, _over_two_axes, _numerator_used_again])
def test_not_softmax(fn: Callable, same_as_jax: Check, operators: Check) -> None:
    assert "Softmax" not in operators(same_as_jax(fn, _draw(2, 3, 4)))
