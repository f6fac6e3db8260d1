"""Window reductions, running sums, padding of every kind and reductions of flags."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

Check = Callable[..., Any]
PADDINGS = ["SAME", "VALID", ((1, 1), (1, 0)), ((2, 1), (0, 2))]


def _draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def _window(x: jax.Array, start: Any, reducer: Any, *sizes: Any, **options: Any) -> jax.Array:
    return lax.reduce_window(x, jnp.array(start, x.dtype), reducer, *sizes, **options)


@pytest.mark.parametrize("padding", PADDINGS, ids=str)
def test_pools_with_every_padding(padding: Any, same_as_jax: Check) -> None:
    def fn(x: jax.Array) -> Any:
        around = padding if isinstance(padding, str) else ((0, 0), *padding, (0, 0))
        return (
            nn.max_pool(x, (3, 3), (2, 2), padding),
            nn.avg_pool(x, (3, 3), (2, 2), padding),
            nn.avg_pool(x, (3, 3), (2, 2), padding, count_include_pad=False),
            _window(x, np.inf, lax.min, (1, 3, 3, 1), (1, 2, 2, 1), around),
            _window(x, 0, lax.add, (1, 3, 3, 1), (1, 1, 1, 1), around),
        )

    same_as_jax(fn, _draw(2, 8, 7, 4), batches=(2, 3))


ONES = (1, 1, 1, 1)
WINDOWS = {
    "padding as wide as the window": lambda x: jnp.maximum(
        _window(x, -np.inf, lax.max, (1, 2, 1, 1), ONES, ((0, 0), (2, 0), (0, 0), (0, 0))), -9
    ),
    "a sum with wide padding": lambda x: _window(
        x, 0, lax.add, (1, 2, 1, 1), ONES, ((0, 0), (2, 3), (0, 0), (0, 0))
    ),
    "product": lambda x: _window(x, 1, lax.mul, (1, 2, 2, 1), ONES, "VALID"),
    "a long product, with steps": lambda x: _window(
        x, 1, lax.mul, (1, 5, 6, 1), (1, 2, 1, 1), "SAME", window_dilation=(1, 1, 1, 1)
    ),
    "a dilated product": lambda x: _window(
        x, 1, lax.mul, (1, 3, 2, 1), (1, 1, 2, 1), "SAME", window_dilation=(1, 2, 1, 1)
    ),
    "dilated window": lambda x: _window(
        x, -np.inf, lax.max, (1, 2, 2, 1), ONES, "VALID", window_dilation=(1, 2, 2, 1)
    ),
    "dilated sum": lambda x: _window(
        x, 0, lax.add, (1, 2, 2, 1), ONES, "VALID", window_dilation=(1, 2, 2, 1)
    ),
    "dilated input": lambda x: _window(
        x, -np.inf, lax.max, (1, 2, 2, 1), ONES, "VALID", base_dilation=(1, 2, 2, 1)
    ),
    "a start that counts": lambda x: _window(x, 0, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "SAME"),
    "over the channels": lambda x: _window(x * x, 0, lax.add, (1, 1, 1, 3), ONES, "SAME"),
    "over all but the batch": lambda x: _window(x, -np.inf, lax.max, (1, 2, 2, 2), (1, 2, 2, 2), "VALID"),
    "flags": lambda x: lax.reduce_window(x > 1, False, lax.bitwise_or, (1, 2, 2, 1), (1, 2, 2, 1), "VALID"),
    "integers": lambda x: _window(
        (x * 9).astype(jnp.int32), np.iinfo(np.int32).min, lax.max, (1, 7, 2, 1), ONES, "VALID"
    ),
}


@pytest.mark.parametrize("name", WINDOWS)
def test_windows(name: str, same_as_jax: Check) -> None:
    same_as_jax(WINDOWS[name], _draw(2, 8, 7, 4), batches=(2, 3))


@pytest.mark.parametrize("length", [2, 5, 8, 13])
def test_running_reductions_of_every_length(length: int, same_as_jax: Check, operators: Check) -> None:
    def fn(x: jax.Array) -> Any:
        return jnp.cumsum(x, 1), lax.cumsum(x, 1, reverse=True), jnp.cumprod(x, 1), lax.cummax(x, 1)

    model = same_as_jax(fn, _draw(2, length, 3))
    assert operators(model).count("CumSum") == 2


def test_a_running_sum_is_one_node(same_as_jax: Check, operators: Check) -> None:
    x = _draw(2, 5, 4)
    assert operators(same_as_jax(lambda x: jnp.cumsum(x, -1), x, batches=(2, 3))) == ["CumSum"]
    integers = np.arange(12, dtype=np.int32).reshape(3, 4)
    assert operators(same_as_jax(lambda x: jnp.cumsum(x, 0), integers)) == ["CumSum"]
    same_as_jax(lambda x: lax.cummin(x, 1, reverse=True), integers)


def test_a_window_sum_that_only_looks_like_a_running_one(same_as_jax: Check, operators: Check) -> None:
    def fn(x: jax.Array) -> jax.Array:  # all of the axis, but a step of two
        return _window(x, 0, lax.add, (1, 5, 1), (1, 2, 1), ((0, 0), (4, 0), (0, 0)))

    assert "CumSum" not in operators(same_as_jax(fn, _draw(2, 5, 4)))


ENDS = ((0, 0), (1, 2), (2, 1), (0, 0))
PADS = {
    "constant": lambda x: jnp.pad(x, ENDS, constant_values=0.5),
    "edge": lambda x: jnp.pad(x, ENDS, mode="edge"),
    "reflect": lambda x: jnp.pad(x, ENDS, mode="reflect"),
    "symmetric": lambda x: jnp.pad(x, ENDS, mode="symmetric"),
    "wrap": lambda x: jnp.pad(x, ENDS, mode="wrap"),
    "maximum": lambda x: jnp.pad(x, ENDS, mode="maximum"),
    "interior": lambda x: lax.pad(x, np.float32(0), ((0, 0, 0), (1, 1, 1), (0, 0, 2), (0, 0, 0))),
    "negative": lambda x: lax.pad(x, np.float32(0), ((0, 0, 0), (-1, 2, 0), (3, -2, 0), (0, 0, 0))),
    "both": lambda x: lax.pad(x, np.float32(1.5), ((0, 0, 0), (-1, 2, 2), (3, -2, 1), (0, 0, 0))),
    "computed": lambda x: lax.pad(
        x, jnp.exp(0 * x[0, 0, 0, 0]), ((0, 0, 0), (1, 2, 1), (0, 1, 0), (0, 0, 0))
    ),
    "flags": lambda x: jnp.pad(x > 0, ENDS),
}


@pytest.mark.parametrize("name", PADS)
def test_padding(name: str, same_as_jax: Check) -> None:
    batches = () if name == "computed" else (2, 3)  # it reads one image
    same_as_jax(PADS[name], _draw(2, 6, 7, 3), batches=batches)


def test_any_and_all(same_as_jax: Check) -> None:
    def fn(x: jax.Array) -> Any:
        flags = x > 0
        kept = jnp.where((x > 1).any(-1, keepdims=True), x, 0)
        return flags.any(1), (x > -2).all((2, 3)), flags[:, :1].any(1), kept

    same_as_jax(fn, _draw(2, 5, 4, 3), batches=(2, 3))
