"""Numbers go into weights; the bias of a residual branch goes behind a concatenation, where that is right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

Check = Callable[..., Any]


def _draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


WEIGHTS = {"kernel": _draw(4, 4), "bias": _draw(4)}


def test_a_factor_goes_into_the_weights(same_as_jax: Check, operators: Check) -> None:
    fn = lambda w, x: 0.25 * (x @ w["kernel"] + w["bias"]).reshape(2, 2, 2)  # noqa: E731
    assert operators(same_as_jax(fn, _draw(2, 4), weights=WEIGHTS)) == ["Gemm", "Reshape"]


def test_not_past_another_reader_or_a_nonlinearity(same_as_jax: Check, operators: Check) -> None:
    def read_twice(w: dict, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        y = x @ w["kernel"]
        return y * 0.25, y

    def after_relu(w: dict, x: jax.Array) -> jax.Array:
        return 0.25 * jax.nn.relu(x @ w["kernel"])

    for fn in (read_twice, after_relu):
        assert "Mul" in operators(same_as_jax(fn, _draw(2, 4), weights=WEIGHTS))


def _block(w: dict, x: jax.Array, between: Callable) -> jax.Array:
    s = x + (jnp.tanh(x) @ w["branch"]["kernel"] + w["branch"]["bias"])
    y = jnp.tanh(between(s) @ w["next"]["kernel"] + w["next"]["bias"])
    return jnp.concatenate([s, y], axis=-1) @ w["wide"]["kernel"]


BLOCK = {
    "branch": {"kernel": _draw(4, 4), "bias": _draw(4, seed=2)},
    "next": {"kernel": _draw(4, 4, seed=3), "bias": _draw(4, seed=4)},
    "wide": {"kernel": _draw(8, 4, seed=5)},
}


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 5, 4)])
def test_the_bias_moves_behind_the_concatenation(shape: tuple, same_as_jax: Check) -> None:
    model = same_as_jax(lambda w, x: _block(w, x, lambda s: s), _draw(*shape), weights=BLOCK)
    concat = next(i for i, node in enumerate(model.graph.node) if node.op_type == "Concat")
    after = model.graph.node[concat + 1]
    assert after.op_type == "Add" and "branch.bias" in after.input


def test_not_where_a_reader_cannot_absorb_a_constant(same_as_jax: Check) -> None:
    model = same_as_jax(lambda w, x: _block(w, x, jax.nn.relu), _draw(2, 3, 4), weights=BLOCK)
    concat = next(i for i, node in enumerate(model.graph.node) if node.op_type == "Concat")
    assert model.graph.node[concat + 1].op_type != "Add"
    assert Counter(node.op_type for node in model.graph.node)["Add"] == 3
