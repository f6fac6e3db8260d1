"""Reading StableHLO: calls, constants, attributes, places."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from export.frontends.stablehlo import trace
from export.lower.program import Program, UnsupportedError
from export.lower.walk import shorten_paths, walk


def _walk(fn: Callable, *args: Any, weights: Any = None) -> Program:
    traced = trace(fn, args, weights)
    return walk(traced.module, traced.arguments)


X = np.ones((2, 3), np.float32)


def test_calls_are_inlined_and_keep_the_caller_s_place() -> None:
    program = _walk(lambda x: jax.nn.relu(jax.jit(jnp.tanh)(x)), X)
    assert [op.kind for op in program.ops] == ["tanh", "broadcast_in_dim", "maximum"]
    assert all("test_walk.py:" in op.where.source for op in program.ops)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.int8, np.bool_])
@pytest.mark.parametrize("values", [np.ones((2, 3)), np.arange(6).reshape(2, 3), np.arange(600) % 7])
def test_constants_of_every_type(dtype: Any, values: np.ndarray) -> None:
    table = values.astype(dtype)
    program = _walk(lambda x: (x, jnp.asarray(table)), X)
    data = program.outputs[1].data
    if data is None:  # JAX broadcasts a constant of one value
        data = np.broadcast_to(program.ops[-1].inputs[0].data, table.shape)
    assert data.dtype == dtype
    np.testing.assert_array_equal(data, table)


def test_infinities_in_bfloat16() -> None:
    table = np.array([np.inf, -np.inf, 0.5, -2], ml_dtypes.bfloat16)
    np.testing.assert_array_equal(_walk(lambda x: jnp.asarray(table), X).outputs[0].data, table)


def test_weights_are_values_named_by_their_paths() -> None:
    weights = {"params": {"fc": {"kernel": np.ones((3, 3), np.float32)}}, "batch_stats": {"mean": X[0]}}
    program = _walk(
        lambda w, x: x @ w["params"]["fc"]["kernel"] + w["batch_stats"]["mean"], X, weights=weights
    )
    names = {value.name for op in program.ops for value in op.inputs if value.name}
    assert names == {"fc.kernel", "batch_stats.mean", "input"}
    assert [value.name for value in program.inputs] == ["input"]


def test_structured_attributes_become_plain_python() -> None:
    program = _walk(lambda x: jnp.einsum("ab,cb->ac", x, x), X)
    numbers = program.ops[0].attrs["dot_dimension_numbers"]
    assert numbers["lhs_contracting_dimensions"] == numbers["rhs_contracting_dimensions"] == (1,)


def test_a_composite_of_chlo_is_the_operation_itself_and_another_is_its_body() -> None:
    twice = jax.lax.composite(lambda x: x + x, name="mine.twice")
    named = jax.lax.composite(lambda x: x * x, name="chlo.erf")
    assert [op.kind for op in _walk(lambda x: named(twice(x)), X).ops] == ["add", "erf"]


def test_paths_start_at_the_weights() -> None:
    program = _walk(lambda x: jnp.tanh(x), X)
    program.ops[0].where = replace(program.ops[0].where, path="Net/Net.features/stage1/conv")
    shorten_paths(program, {"stage1"})
    assert program.ops[0].where.path == "stage1/conv"
    shorten_paths(program, {"other"})
    assert program.ops[0].where.path == ""


def test_the_number_of_arguments_must_agree() -> None:
    traced = trace(jnp.tanh, (X,))
    with pytest.raises(ValueError, match="takes 1 arguments, 2 were given"):
        walk(traced.module, traced.arguments * 2)


def test_a_callback_is_refused_by_name() -> None:
    def fn(x: jax.Array) -> jax.Array:
        return jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    with pytest.raises(UnsupportedError, match=r"custom call to '.*callback"):
        _walk(fn, X)
