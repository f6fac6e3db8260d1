"""Constants are computed at conversion time; nothing is blown up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Check = Callable[..., Any]


def test_arithmetic_on_weights_leaves_no_node(same_as_jax: Check, operators: Check) -> None:
    def fn(w: dict, x: jax.Array) -> jax.Array:
        scale = w["scale"] / jnp.sqrt(w["var"] + 1e-5)
        return x * scale + (w["bias"] - w["mean"] * scale)

    weights = {
        name: np.random.default_rng(i).uniform(1, 2, 4).astype(np.float32)
        for i, name in enumerate(("scale", "var", "bias", "mean"))
    }
    model = same_as_jax(fn, np.ones((2, 4), np.float32), weights=weights)
    assert operators(model) == ["Mul", "Add"]


def test_casts_of_weights_are_folded_into_half_precision_initializers(same_as_jax: Check) -> None:
    def fn(w: dict, x: jax.Array) -> jax.Array:
        return x.astype(jnp.float16) @ w["kernel"].astype(jnp.float16)

    weights = {"kernel": np.eye(4, dtype=np.float32)}
    model = same_as_jax(fn, np.ones((2, 4), np.float32), weights=weights)
    kernel = next(tensor for tensor in model.graph.initializer if tensor.name == "kernel")
    assert kernel.raw_data == np.eye(4, dtype=np.float16).tobytes()


def test_a_weight_that_is_broadcast_keeps_its_size(same_as_jax: Check, operators: Check) -> None:
    weights = {"bias": np.arange(8, dtype=np.float32)}
    model = same_as_jax(lambda w, x: x + w["bias"], np.ones((64, 64, 8), np.float32), weights=weights)
    assert operators(model) == ["Add"]
    assert [list(tensor.dims) for tensor in model.graph.initializer] == [[8]]


def test_operations_on_inputs_are_not_folded(same_as_jax: Check, operators: Check) -> None:
    assert operators(same_as_jax(lambda x: x * 2 + 1, np.ones(3, np.float32))) == ["Mul", "Add"]
