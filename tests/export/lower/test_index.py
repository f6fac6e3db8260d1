"""Reading and writing at places: gathers, scatters with constant indices, dynamic slices."""

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
ROWS = np.array([3, 0, -1, 2])


def _draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _places(x: jax.Array, size: int) -> jax.Array:
    """Computed indices, some of them outside of an axis of this size."""
    return jnp.floor(jnp.abs(x) * size / 2).astype(jnp.int32)


GATHERS = {
    "take": lambda x: jnp.take(x, ROWS, axis=1),
    "take, nothing outside": lambda x: jnp.take(x, np.array([0, 99, 2]), axis=1, mode="clip"),
    "take, a value outside": lambda x: jnp.take(x, np.array([0, 99]), axis=1, mode="fill", fill_value=7.0),
    "rows": lambda x: x[:, ROWS],
    "channels": lambda x: x[..., [3, 0, 1]],
    "a matrix of rows": lambda x: x[:, :, np.array([[0, 1], [2, 3]])],
    "points": lambda x: x[:, np.array([0, 1, 2]), np.array([3, 1, 0])],
    "a grid": lambda x: x[:, np.array([0, 1, 2])[:, None], np.array([3, 1])],
    "axes apart": lambda x: x[:, np.array([0, 1, 2]), :, np.array([3, 1, 0])],
    "a mask": lambda x: x[:, np.array([True, False, True, True, False])],
    "reversed": lambda x: x[:, ::-2],
    "along an axis, constant": lambda x: jnp.take_along_axis(x, ROWS[None, :, None, None], axis=1),
    "along an axis, computed": lambda x: jnp.take_along_axis(x, jnp.argsort(x, 1), axis=1),
    "along the last axis": lambda x: jnp.take_along_axis(x, jnp.argmax(x, -1, keepdims=True), -1),
    "each with its own": lambda x: jax.vmap(lambda a, i: a[i])(x, _places(x[:, :3, 0, 0], 5)),
    "each with its own points": lambda x: jax.vmap(lambda a, i, j: a[i, j])(
        x, _places(x[..., 0], 5), _places(x[..., 1], 4)
    ),
    "tokens to keep": lambda x: jax.vmap(lambda t: t[jnp.argsort(t[:, 0])[:3]])(x.reshape(len(x), -1, 6)),
    "a run from each": lambda x: jax.vmap(lambda a, i: lax.dynamic_slice(a, (i, 0, 0), (2, 4, 6)))(
        x, _places(x[:, 0, 0, 0], 5)
    ),
    "a window from each": lambda x: jax.vmap(lambda a, i: lax.dynamic_slice(a, (i, i, 0), (2, 3, 6)))(
        x, _places(x[:, 0, 0, 0], 5)
    ),
    "diagonal": lambda x: jnp.diagonal(x, axis1=1, axis2=2),
    "a table": lambda x: jnp.take(_draw(7, 3, seed=1), _places(x, 7), axis=0),
    "a slice": lambda x: lax.dynamic_slice(x, (0, 1, 2, 0), (x.shape[0], 3, 2, 6)),
}


@pytest.mark.parametrize("name", GATHERS)
def test_gathers(name: str, same_as_jax: Check) -> None:
    x = _draw(3, 5, 4, 6)
    # NaN is what JAX gives outside of a table: as a number, to be compared
    same_as_jax(lambda x: jnp.nan_to_num(GATHERS[name](x), nan=-9.0), x, batches=(2, 3))


@pytest.mark.parametrize("dtype", [np.float16, np.int32])
def test_gathers_of_other_types(dtype: Any, same_as_jax: Check) -> None:
    x = (_draw(2, 5, 4, 6) * 9).astype(dtype)
    same_as_jax(
        lambda x: (
            x[:, np.array([0, 1]), np.array([3, 1])],
            jnp.take_along_axis(x, ROWS[None, :, None, None], 1),
        ),
        x,
    )


def test_windows_of_one_array_at_computed_places(same_as_jax: Check) -> None:
    def fn(x: jax.Array) -> jax.Array:
        return jax.vmap(lambda i: lax.dynamic_slice(x, (0, i, 1), (2, 3, 2)))(_places(x[0, :, 0], 5))

    same_as_jax(fn, _draw(2, 7, 4))


def test_a_few_nodes_for_constant_places(same_as_jax: Check, operators: Check) -> None:
    x = _draw(2, 5, 4, 6)
    assert operators(same_as_jax(GATHERS["rows"], x)) == ["Gather"]
    assert operators(same_as_jax(GATHERS["along an axis, constant"], x)) == ["Gather"]
    assert operators(same_as_jax(GATHERS["points"], x)) == ["Reshape", "Gather", "Reshape"]


SCATTERS = {
    "a row": (lambda x: x.at[:, 2].set(1.5), ["Where"]),
    "a window": (lambda x: x.at[:, 1:4, 2:3].set(0), ["Where"]),
    "every other": (lambda x: x.at[:, ::2].set(0.0), ["Where"]),
    "points": (lambda x: x.at[:, [0, 1], [2, 3]].set(7.0), ["Where"]),
    "a mask": (lambda x: x.at[:, np.array([True, False, True, True, False])].set(0.0), ["Where"]),
    "rows of an array": (lambda x: x.at[:, [0, 3]].set(x[:, [1, 2]]), None),
    "the last channel": (lambda x: x.at[..., -1].set(x[..., 0]), None),
    "add a number": (lambda x: x.at[:, [0, 3]].add(2.0), ["Add", "Where"]),
    "add rows that repeat": (lambda x: x.at[:, [3, 3, 1]].add(x[:, :3]), None),
    "multiply": (lambda x: x.at[..., 0].multiply(3.0), ["Mul", "Where"]),
    "the larger": (lambda x: x.at[:, 2].max(0.25), ["Max", "Where"]),
    "the smaller": (lambda x: x.at[:, [1, 2]].min(x[:, [2, 3]]), None),
    "zeros between": (lambda x: jnp.zeros((len(x), 10, 8, 6)).at[:, ::2, ::2].set(x), None),
    "outside is left out": (lambda x: x.at[:, np.array([1, 77])].set(x[:, :2]), None),
    "add outside": (lambda x: x.at[:, np.array([1, 77])].add(1.0), None),
    "a block": (lambda x: lax.dynamic_update_slice(x, 2 * x[:, :2, :2], (0, 3, 1, 0)), None),
    "a block of a number": (lambda x: lax.dynamic_update_slice(x, 0 * x[:, :2] + 1, (0, 3, 0, 0)), None),
}


@pytest.mark.parametrize("name", SCATTERS)
def test_scatters_with_constant_places(name: str, same_as_jax: Check, operators: Check) -> None:
    fn, wanted = SCATTERS[name]
    model = same_as_jax(fn, _draw(3, 5, 4, 6), batches=(2, 3))
    if wanted is not None:
        assert operators(model) == wanted


def test_sums_of_segments_are_a_product(same_as_jax: Check, operators: Check) -> None:
    groups = np.array([0, 1, 0, 2, 1])
    model = same_as_jax(lambda x: jax.ops.segment_sum(x, groups, 3), _draw(5, 4))
    assert [kind for kind in operators(model) if kind not in ("Transpose", "Reshape")] == ["MatMul"]


def test_scatters_of_constants_are_constants(same_as_jax: Check, operators: Check) -> None:
    def fn(x: jax.Array) -> jax.Array:
        eye = jnp.fill_diagonal(jnp.zeros((6, 6)), 2.0, inplace=False)
        return jnp.repeat(x * eye[0], np.array([1, 2, 0, 1, 1]), axis=1)

    assert operators(same_as_jax(fn, _draw(2, 5, 4, 6))) == ["Mul", "Gather"]


@pytest.mark.parametrize("start", [-3, 0, 2, 9])
@pytest.mark.parametrize("options", [{}, {"batches": (1, 2, 3), "input_layout": "nchw"}])
def test_a_slice_from_a_computed_place(
    same_as_jax: Check, operators: Check, start: int, options: dict[str, Any]
) -> None:
    """The start is moved inside the dimension, as JAX does."""

    def fn(x: jax.Array) -> jax.Array:
        at = jnp.round(x.max() * 0).astype(jnp.int32) + start
        return lax.dynamic_slice(x, (0, at, 1, at), (x.shape[0], 2, 2, 3))

    found = operators(same_as_jax(fn, _draw(2, 5, 4, 6), **options))
    assert found.count("Gather") == 3 and found.count("Min") == found.count("Max") == 2


def test_a_slice_of_an_open_batch_from_a_computed_place_is_an_error() -> None:
    with pytest.raises(UnsupportedError, match="it slices the batch at a place"):
        convert(
            lambda x: lax.dynamic_slice(x, [x.max().astype(jnp.uint32)] * 4, (1, 5, 4, 6)),
            _draw(2, 5, 4, 6),
            dynamic_batch=True,
        )


@pytest.mark.parametrize(
    ("fn", "why"),
    [
        (lambda x: x.at[:, _places(x[0, :, 0, 0], 5)].add(1.0), "writes to places that are only known when"),
        (lambda x: x.at[:, [1, 1]].max(x[:, :2]), "several updates of one place by 'maximum'"),
        (
            lambda x: lax.dynamic_update_slice_in_dim(x, x[:, :1], _places(x[0, 0, 0, 0], 5), 1),
            "writes to a place that is only known when",
        ),
    ],
)
def test_computed_places_are_an_error(fn: Any, why: str) -> None:
    with pytest.raises(UnsupportedError, match=why) as caught:
        convert(fn, _draw(2, 5, 4, 6))
    assert "test_index.py:" in str(caught.value)


@pytest.mark.parametrize("fn", [lambda x: x[jnp.array([0, 1])], lambda x: x.at[0].set(0.0)])
def test_places_in_an_open_batch_are_an_error(fn: Any) -> None:
    with pytest.raises(UnsupportedError, match=r"dynamic_batch|fixed batch"):
        convert(fn, _draw(2, 5), dynamic_batch=True)
