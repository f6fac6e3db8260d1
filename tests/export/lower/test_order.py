"""argmax, argmin, top-k and sorts, and what JAX makes of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from export.bridge import convert
from export.lower.program import UnsupportedError

Check = Callable[..., Any]


def _draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


FUNCTIONS = {
    "argmax": (lambda x: jnp.argmax(x, -1), ["ArgMax", "Cast"]),
    "argmin": (lambda x: jnp.argmin(x, 1), ["ArgMin", "Cast"]),
    "argmax of equal ones": (lambda x: jnp.argmax(jnp.round(x), -1), ["Round", "ArgMax", "Cast"]),
    "argmax keepdims": (lambda x: jnp.argmax(x, 2, keepdims=True), ["ArgMax", "Cast", "Reshape"]),
    "argmax of flags": (lambda x: jnp.argmax(x > 0, 1), ["Greater", "Cast", "ArgMax", "Cast"]),
    "top_k": (lambda x: lax.top_k(x, 3), ["TopK", "Cast"]),
    "top_k axis": (lambda x: lax.top_k(x, 2, axis=1), ["TopK", "Cast"]),
    "values alone": (lambda x: lax.top_k(x, 2)[0], ["TopK"]),
    "approx_max_k": (lambda x: lax.approx_max_k(x, 2), ["TopK", "Cast"]),
    "approx_min_k": (lambda x: lax.approx_min_k(x, 2), None),
    "sort": (jnp.sort, ["TopK"]),
    "sort axis": (lambda x: jnp.sort(x, 1), ["TopK"]),
    "sort descending": (lambda x: jnp.sort(x, descending=True), None),
    "argsort": (lambda x: jnp.argsort(x, 1), ["TopK", "Cast"]),
    "argsort descending": (lambda x: jnp.argsort(x, 1, descending=True), None),
    "argsort of equal ones": (lambda x: jnp.argsort(jnp.round(x), -1), None),
    "sort_key_val": (lambda x: lax.sort_key_val(x, 2 * x), ["Mul", "TopK", "Cast", "GatherElements"]),
    "median": (lambda x: jnp.median(x, -1), None),
    "quantile": (lambda x: jnp.quantile(x, 0.3, axis=1), None),
    "one_hot of argmax": (lambda x: jax.nn.one_hot(jnp.argmax(x, -1), 6), None),
    "select by the first that holds": (lambda x: jnp.select([x > 1, x > 0], [x, 2 * x], 0), None),
    "take what the sort says": (lambda x: jnp.take_along_axis(x, jnp.argsort(x, 1), 1), None),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_orders(name: str, same_as_jax: Check, operators: Check) -> None:
    fn, wanted = FUNCTIONS[name]
    model = same_as_jax(fn, _draw(2, 5, 4, 6), batches=(2, 3))
    if wanted is not None:
        assert operators(model) == wanted


@pytest.mark.parametrize("fn", [jnp.argmax, lambda x: lax.top_k(x, 3), jnp.sort])
def test_rank_one_is_a_matrix_of_one_row(fn: Any, same_as_jax: Check, operators: Check) -> None:
    assert "Reshape" in operators(same_as_jax(fn, _draw(17)))


def test_integers_and_flags_are_ordered_too(same_as_jax: Check) -> None:
    x = np.random.default_rng(0).integers(-9, 9, (3, 8)).astype(np.int32)
    same_as_jax(lambda x: (jnp.sort(x), jnp.argmax(x, 1), jnp.argmin(x, 0), lax.top_k(x, 2)), x)


def test_an_image_is_sorted_where_it_lies(operators: Check, same_as_jax: Check) -> None:
    kernel = _draw(3, 3, 6, 8)

    def fn(x: jax.Array) -> jax.Array:
        y = lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return jnp.argmax(y, -1)

    model = same_as_jax(fn, _draw(2, 5, 4, 6), input_layout="nchw")
    assert operators(model) == ["Conv", "ArgMax", "Cast"]


def test_a_sort_by_two_keys_is_an_error() -> None:
    with pytest.raises(UnsupportedError, match="sorts by one key"):
        convert(lambda x: jnp.lexsort((x, jnp.round(x))), _draw(2, 5))


def test_a_reduction_of_pairs_that_is_no_argmax_is_an_error() -> None:
    def fn(x: jax.Array) -> Any:
        index = lax.broadcasted_iota(jnp.int32, x.shape, 1)
        both = lambda a, b: (a[0] + b[0], lax.min(a[1], b[1]))  # noqa: E731
        return lax.reduce((x, index), (np.float32(0), np.int32(0)), both, (1,))

    with pytest.raises(UnsupportedError, match="a custom function"):
        convert(fn, _draw(2, 5))


def test_an_argmax_over_other_numbers_than_places_is_an_error() -> None:
    def fn(x: jax.Array) -> Any:
        def larger(a: Any, b: Any) -> Any:
            first = (a[0] > b[0]) | ((a[0] == b[0]) & (a[1] < b[1]))
            return jnp.where(first, a[0], b[0]), jnp.where(first, a[1], b[1])

        index = 2 * lax.broadcasted_iota(jnp.int32, x.shape, 1)
        return lax.reduce((x, index), (np.float32(-np.inf), np.int32(0)), larger, (1,))

    with pytest.raises(UnsupportedError, match="argmax"):
        convert(fn, _draw(2, 5))
