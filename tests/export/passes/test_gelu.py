"""GELU is one node in each of its spellings and precisions; what is nearly one stays as it is."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from hvjax.ops.activation import gelu

Check = Callable[..., Any]
# JAX rounds after each of the five operations, ONNX Runtime once
TOLERANCES = {np.float32: 1e-5, np.float16: 4e-3}


def _draw(*shape: int, dtype: type = np.float32) -> np.ndarray:
    return (2 * np.random.default_rng(0).standard_normal(shape)).astype(dtype)


def _divided(x: jax.Array) -> jax.Array:
    return x * (lax.erf(x / np.asarray(math.sqrt(2), x.dtype)) + 1) / 2


def _of_a_product(x: jax.Array) -> jax.Array:
    return gelu(3 * x * x)


SPELLINGS = {
    "ours": (gelu, ["Gelu"]),
    "jax.nn, by erfc": (lambda x: jax.nn.gelu(x, approximate=False), ["Gelu"]),
    "jax.nn, by tanh": (lambda x: jax.nn.gelu(x, approximate=True), ["Gelu"]),
    "quotients": (_divided, ["Gelu"]),
    "x is itself a product": (_of_a_product, ["Mul", "Mul", "Gelu"]),
}


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("name", SPELLINGS)
def test_gelu(name: str, dtype: type, same_as_jax: Check, operators: Check) -> None:
    fn, expected = SPELLINGS[name]
    model = same_as_jax(fn, _draw(3, 40, dtype=dtype), tolerance=TOLERANCES[dtype])
    assert operators(model) == expected
    assert model.graph.node[-1].attribute[0].s == (b"tanh" if name == "jax.nn, by tanh" else b"none")


def test_a_part_that_is_also_an_output_stays(same_as_jax: Check, operators: Check) -> None:
    def fn(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        gate = 1 + lax.erf(x * np.float32(math.sqrt(0.5)))
        return 0.5 * x * gate, gate

    assert sorted(operators(same_as_jax(fn, _draw(3, 5)))) == ["Add", "Erf", "Gelu", "Mul"]


@pytest.mark.parametrize(
    "fn",
    [
        lambda x, y: 0.5 * x * (1 + lax.erf(x * 0.7)),
        lambda x, y: 0.4 * x * (1 + lax.erf(x * math.sqrt(0.5))),
        lambda x, y: 0.5 * y * (1 + lax.erf(x * math.sqrt(0.5))),
        lambda x, y: 0.5 * x * x * (1 + lax.erf(x * math.sqrt(0.5))),
        lambda x, y: 0.5 * x * (1 - lax.erf(x * math.sqrt(0.5))),
        lambda x, y: 0.5 * x * lax.erfc(x * math.sqrt(0.5)),
        lambda x, y: 0.5 * x * (1 + jnp.tanh(math.sqrt(2 / math.pi) * (x + 0.05 * x**3))),
        lambda x, y: 0.5 * x * (1 + jnp.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**2))),
        lambda x, y: 0.5 * x[:1] * (1 + lax.erf(x * math.sqrt(0.5))),
    ],
)
def test_not_gelu(fn: Callable, same_as_jax: Check, operators: Check) -> None:
    assert "Gelu" not in operators(same_as_jax(fn, _draw(3, 5), _draw(3, 5) + 1))
