"""Sums and divisions that are means, window sums that are average pools."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

from export.bridge import convert
from export.precision.emulate import emulated
from export.runtimes.onnxruntime import OnnxSession
from hvjax.ops.pooling import avg_pool2d, avg_pool_tokens, max_pool2d

Check = Callable[..., Any]
NCHW = {"input_layout": "nchw", "output_layout": "nchw"}
HALF_TOLERANCE = 2e-3  # one float16 rounding is 5e-4
BFLOAT16_TOLERANCE = 1.6e-2  # one bfloat16 rounding is 3.9e-3


def _draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    "fn", [lambda x: x.mean((1, 2)), lambda x: x.sum((1, 2)) * (1 / 30), lambda x: x.sum((1, 2)) / 30]
)
def test_mean(fn: Callable, same_as_jax: Check, operators: Check) -> None:
    assert operators(same_as_jax(fn, _draw(2, 5, 6, 4), input_layout="nchw")) == ["ReduceMean"]


def test_mean_that_keeps_its_axes_is_a_pool_of_the_whole_map(same_as_jax: Check, operators: Check) -> None:
    fn = lambda x: x.mean((1, 2), keepdims=True)  # noqa: E731
    model = same_as_jax(fn, _draw(2, 5, 6, 4), **NCHW)
    assert operators(model) == ["AveragePool"]
    assert {a.name: list(a.ints) for a in model.graph.node[0].attribute}["kernel_shape"] == [5, 6]
    half = same_as_jax(fn, _draw(2, 5, 6, 4).astype(np.float16), tolerance=HALF_TOLERANCE, **NCHW)
    assert operators(half) == ["Cast", "GlobalAveragePool", "Cast"]


@pytest.mark.parametrize(
    "fn", [lambda x: x.sum((1, 2)) / 29, lambda x: x.sum(1) + 30, lambda x: x.max((1, 2)) / 30]
)
def test_not_a_mean_for_another_number_or_reduction(
    fn: Callable, same_as_jax: Check, operators: Check
) -> None:
    assert "ReduceMean" not in operators(same_as_jax(fn, _draw(2, 5, 6, 4)))


def test_a_half_precision_mean_stays_in_float32(same_as_jax: Check, operators: Check) -> None:
    x = _draw(2, 5, 6, 4).astype(np.float16)
    model = same_as_jax(lambda x: x.mean((1, 2)), x, tolerance=HALF_TOLERANCE)
    assert operators(model) == ["Cast", "ReduceMean", "Cast"]


POOLS = {
    "plain": lambda x: avg_pool2d(x, 2, 2),
    "overhang": lambda x: avg_pool2d(x, 2, 2, ceil_mode=True),
    "padding left out": lambda x: avg_pool2d(x, 3, 2, padding=1),
    "padding counted": lambda x: avg_pool2d(x, 3, 2, padding=1, count_include_pad=True),
    "flax": lambda x: nn.avg_pool(x, (2, 2), (2, 2)),
    "flax same, not counted": lambda x: nn.avg_pool(x, (3, 3), (2, 2), "SAME", count_include_pad=False),
    "flax same, counted": lambda x: nn.avg_pool(x, (3, 3), (1, 1), "SAME"),
}


@pytest.mark.parametrize("size", [(6, 8), (7, 5)])
@pytest.mark.parametrize("name", POOLS)
def test_average_pools(name: str, size: tuple[int, int], same_as_jax: Check, operators: Check) -> None:
    assert operators(same_as_jax(POOLS[name], _draw(2, *size, 3), **NCHW)) == ["AveragePool"]


@pytest.mark.parametrize("options", [{"window": 2, "ceil_mode": True}, {"window": 3}])  # 1/9 is rounded
def test_half_precision_average_pool(options: dict[str, Any], same_as_jax: Check, operators: Check) -> None:
    x = _draw(2, 7, 5, 3).astype(np.float16)
    model = same_as_jax(lambda x: avg_pool2d(x, stride=2, **options), x, tolerance=HALF_TOLERANCE, **NCHW)
    assert operators(model) == ["AveragePool"]


@pytest.mark.parametrize(
    ("fn", "made"),
    [
        (lambda x: avg_pool2d(x, 2, 2), "Conv"),
        (lambda x: avg_pool2d(x, 4, 2, padding=1, count_include_pad=True), "Conv"),
        (lambda x: avg_pool2d(x, 4, 2, padding=1), "AveragePool"),  # the share differs at the border
        (lambda x: avg_pool2d(x, 3, 2), "AveragePool"),  # bfloat16 has no 1/9
        (lambda x: avg_pool_tokens(x.reshape(2, 48, 3), 4), "Conv"),
    ],
)
def test_a_bfloat16_average_is_a_convolution_where_its_shares_are_exact(
    fn: Callable, made: str, operators: Check
) -> None:
    def narrow(x: jax.Array) -> jax.Array:
        return fn(x.astype(jnp.bfloat16)).astype(jnp.float32)

    x = _draw(2, 6, 8, 3)
    model = convert(narrow, x)
    assert made in operators(model)
    session = OnnxSession(emulated(model).SerializeToString())  # its CPU provider has no bfloat16
    (found,) = session.run(x).values()
    wanted = np.asarray(jax.jit(narrow)(x))
    assert np.abs(found - wanted).max() <= BFLOAT16_TOLERANCE * np.abs(wanted).max()


def test_a_window_sum_divided_by_something_else_is_no_average(same_as_jax: Check, operators: Check) -> None:
    def fn(x: jnp.ndarray) -> jnp.ndarray:
        return lax.reduce_window(x, np.float32(0), lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "VALID") / 3

    assert operators(same_as_jax(fn, _draw(2, 6, 6, 3), **NCHW)) == ["AveragePool", "Mul", "Div"]


def test_half_of_a_running_sum_over_two_is_no_pool(same_as_jax: Check, operators: Check) -> None:
    model = same_as_jax(lambda x: 0.5 * jnp.cumsum(x, 0), _draw(2, 3))
    assert operators(model) == ["CumSum", "Mul"]


@pytest.mark.parametrize("padding", [0, 1])
def test_max_pool(padding: int, same_as_jax: Check, operators: Check) -> None:
    model = same_as_jax(lambda x: max_pool2d(x, 3, 2, padding=padding), _draw(2, 7, 8, 3), **NCHW)
    assert operators(model) == ["MaxPool"]


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("tokens", [12, 14])  # 14: the last run is incomplete and dropped, without a Slice
def test_runs_of_tokens_are_pooled_as_images(
    tokens: int, dtype: type, same_as_jax: Check, operators: Check
) -> None:
    x = _draw(2, tokens, 3).astype(dtype)
    model = same_as_jax(
        lambda x: avg_pool_tokens(x, 4), x, tolerance=1e-5 if dtype == np.float32 else HALF_TOLERANCE
    )
    assert [name for name in operators(model) if name not in ("Transpose", "Reshape")] == ["AveragePool"]
