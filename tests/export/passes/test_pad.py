"""A class token costs a Pad and no copy per image; other concatenations stay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

Check = Callable[..., Any]
X = np.random.default_rng(0).standard_normal((2, 5, 4)).astype(np.float32)
WEIGHTS = {
    "token": np.arange(4, dtype=np.float32)[None, None],
    "positions": np.random.default_rng(1).standard_normal((6, 4)).astype(np.float32),
}


def _with_token(w: dict, x: jax.Array) -> jax.Array:
    return jnp.concatenate([jnp.broadcast_to(w["token"], (len(x), 1, 4)), x], 1)


def test_a_class_token_and_positions_are_one_table(same_as_jax: Check, operators: Check) -> None:
    model = same_as_jax(lambda w, x: _with_token(w, x) + w["positions"], X, weights=WEIGHTS, batches=(1, 3))
    assert operators(model) == ["Pad", "Add"]
    assert "token+positions" in {tensor.name for tensor in model.graph.initializer}


def test_for_one_image(same_as_jax: Check, operators: Check) -> None:
    model = same_as_jax(lambda w, x: _with_token(w, x) + w["positions"], X[:1], weights=WEIGHTS)
    assert operators(model) == ["Pad", "Add"]


def test_without_positions(same_as_jax: Check, operators: Check) -> None:
    assert operators(same_as_jax(_with_token, X, weights=WEIGHTS, batches=(1, 3))) == ["Pad", "Add"]


def test_rows_behind_and_several_readers(same_as_jax: Check, operators: Check) -> None:
    def fn(w: dict, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        y = jnp.concatenate([x, jnp.broadcast_to(w["token"], (len(x), 2, 4))], 1)
        return y, y + 1

    assert operators(same_as_jax(fn, X, weights=WEIGHTS, batches=(1, 3))) == ["Pad", "Add", "Add"]


def test_computed_parts_are_concatenated(same_as_jax: Check, operators: Check) -> None:
    def fn(w: dict, x: jax.Array) -> jax.Array:
        return jnp.concatenate([jnp.broadcast_to(w["token"], (len(x), 1, 4)), x, x * 2], 1)

    assert "Concat" in operators(same_as_jax(fn, X, weights=WEIGHTS))


def test_along_the_batch_it_stays(same_as_jax: Check, operators: Check) -> None:
    def fn(w: dict, x: jax.Array) -> jax.Array:
        return jnp.concatenate([jnp.broadcast_to(w["token"], (1, 5, 4)), x], 0)

    assert "Concat" in operators(same_as_jax(fn, X, weights=WEIGHTS))


@pytest.mark.parametrize(
    "repeat", [lambda t, b: jnp.tile(t, (b, 1, 1)), lambda t, b: jnp.repeat(t, b, axis=0)]
)
def test_a_token_that_tile_repeats(repeat: Any, same_as_jax: Check, operators: Check) -> None:
    token, x = np.arange(8, dtype=np.float32).reshape(1, 2, 4), np.ones((3, 5, 4), np.float32)
    model = same_as_jax(
        lambda w, x: jnp.concatenate([repeat(w, x.shape[0]), x], 1), x, weights=token, batches=(1, 2)
    )
    assert operators(model) == ["Pad", "Add"]


def test_not_for_rows_of_which_parts_repeat(same_as_jax: Check, operators: Check) -> None:
    token, x = np.arange(4, dtype=np.float32).reshape(1, 1, 4), np.ones((3, 5, 8), np.float32)

    def fn(w: Any, x: Any) -> Any:
        return jnp.concatenate([jnp.repeat(jnp.repeat(w, 3, axis=0), 2, axis=2), x], 1)

    assert "Concat" in operators(same_as_jax(fn, x, weights=token))
