"""The MLP of a transformer block runs on one matrix of rows; whatever else needs its values stops that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

Check = Callable[..., Any]
RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 3, 5, 4)).astype(np.float32)
W = {
    "fc1": {"kernel": RNG.standard_normal((4, 8)), "bias": RNG.standard_normal(8)},
    "fc2": {"kernel": RNG.standard_normal((8, 4)), "bias": RNG.standard_normal(4)},
}
W = jax.tree.map(lambda leaf: leaf.astype(np.float32), W)


def _linear(w: dict[str, Any], x: jax.Array) -> jax.Array:
    return x @ w["kernel"] + w["bias"]


def _mlp(w: dict[str, Any], x: jax.Array) -> jax.Array:
    return _linear(w["fc2"], jax.nn.relu(_linear(w["fc1"], x)))


@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (2, 15, 4)])
def test_an_mlp_is_two_gemms_on_rows(shape: tuple[int, ...], same_as_jax: Check, operators: Check) -> None:
    model = same_as_jax(_mlp, X.reshape(shape), weights=W)
    assert operators(model) == ["Reshape", "Gemm", "Relu", "Gemm", "Reshape"]


def test_with_an_open_batch(same_as_jax: Check, operators: Check) -> None:
    model = same_as_jax(_mlp, X, weights=W, batches=(1, 2, 3))
    assert operators(model) == ["Reshape", "Gemm", "Relu", "Gemm", "Reshape"]


def test_one_image_is_left_as_it_is(same_as_jax: Check, operators: Check) -> None:
    model = same_as_jax(_mlp, X.reshape(1, -1, 4), weights=W)
    assert operators(model) == ["MatMul", "Add", "Relu", "MatMul", "Add"]


def test_what_follows_sees_the_shape_it_expects(same_as_jax: Check, operators: Check) -> None:
    model = same_as_jax(lambda w, x: x + _mlp(w, x).mean((1, 2), keepdims=True), X, weights=W)
    assert operators(model).count("Gemm") == 2


def test_a_following_reshape_is_not_doubled(same_as_jax: Check, operators: Check) -> None:
    model = same_as_jax(lambda w, x: jnp.tanh(_mlp(w, x).reshape(2, 15, 4)), X, weights=W, batches=None)
    found = operators(model)
    assert found.count("Reshape") == 2 and found.count("Gemm") == 2


def _hidden_used_twice(w: Any, x: jax.Array) -> Any:
    hidden = jax.nn.relu(_linear(w["fc1"], x))
    return _linear(w["fc2"], hidden), hidden


def _sum_between(w: Any, x: jax.Array) -> jax.Array:
    hidden = _linear(w["fc1"], x)
    return _linear(w["fc2"], hidden + jnp.flip(hidden, 1))


@pytest.mark.parametrize(
    "fn",
    [
        _hidden_used_twice,
        _sum_between,
        lambda w, x: _linear(w["fc1"], x),
        lambda w, x: jax.nn.relu(x @ w["fc1"]["kernel"]) @ w["fc2"]["kernel"],
        lambda w, x: _linear(w["fc2"], jax.nn.softmax(_linear(w["fc1"], x), -1)),
    ],
    ids=["the hidden values are read elsewhere", "a sum", "one map", "no bias", "rows mixed"],
)
def test_other_chains_stay_as_they_are(fn: Any, same_as_jax: Check, operators: Check) -> None:
    assert "Gemm" not in operators(same_as_jax(fn, X, weights=W))


def test_a_matrix_stays_a_matrix(same_as_jax: Check, operators: Check) -> None:
    assert operators(same_as_jax(_mlp, X.reshape(-1, 4), weights=W)) == ["Gemm", "Relu", "Gemm"]
