"""max(x, 0) is Relu, a per-channel constant is a bias, a product with a constant takes any layout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

Check = Callable[..., Any]


def _draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


IMAGE, KERNEL = _draw(2, 5, 6, 4), _draw(3, 3, 4, 8)


@pytest.mark.parametrize("fn", [jax.nn.relu, lambda x: jnp.maximum(0, x), lambda x: jnp.maximum(x, 0.0)])
def test_relu(fn: Callable, same_as_jax: Check, operators: Check) -> None:
    assert operators(same_as_jax(fn, _draw(3, 4))) == ["Relu"]


@pytest.mark.parametrize(
    "fn", [lambda x: jnp.maximum(x, 0.1), lambda x: jnp.minimum(x, 0), lambda x: jnp.maximum(x, x[::-1])]
)
def test_not_relu_for_another_bound_or_side(fn: Callable, same_as_jax: Check, operators: Check) -> None:
    assert "Relu" not in operators(same_as_jax(fn, _draw(3, 4)))


def test_bias_of_a_convolution(same_as_jax: Check, operators: Check) -> None:
    weights = {"kernel": KERNEL, "bias": _draw(8)}
    model = same_as_jax(
        lambda w, x: w["bias"] + _conv(x, w["kernel"]), IMAGE, weights=weights, input_layout="nchw"
    )
    assert operators(model) == ["Conv", "Transpose"]
    assert list(model.graph.node[0].input[1:]) == ["kernel", "bias"]


def test_no_bias_for_a_constant_that_varies_in_space(same_as_jax: Check, operators: Check) -> None:
    weights = {"kernel": KERNEL, "table": _draw(5, 6, 8)}
    model = same_as_jax(lambda w, x: _conv(x, w["kernel"]) + w["table"], IMAGE, weights=weights)
    assert operators(model) == ["Transpose", "Conv", "Add", "Transpose"]


def test_no_bias_where_the_product_is_read_twice(same_as_jax: Check, operators: Check) -> None:
    weights = {"kernel": KERNEL, "bias": _draw(8)}

    def fn(w: dict, x: jax.Array) -> jax.Array:
        y = _conv(x, w["kernel"])
        return y * (y + w["bias"])

    assert "Add" in operators(same_as_jax(fn, IMAGE, weights=weights))


def test_dense_on_a_vector_is_gemm(same_as_jax: Check, operators: Check) -> None:
    weights = {"kernel": _draw(4, 3), "bias": _draw(3)}
    model = same_as_jax(lambda w, x: x @ w["kernel"] + w["bias"], _draw(2, 4), weights=weights)
    assert operators(model) == ["Gemm"]


def test_dense_on_tokens_is_matmul(same_as_jax: Check, operators: Check) -> None:
    weights = {"kernel": _draw(4, 3), "bias": _draw(3)}
    model = same_as_jax(lambda w, x: x @ w["kernel"] + w["bias"], _draw(2, 7, 4), weights=weights)
    assert operators(model) == ["MatMul", "Add"]


def test_dense_on_an_image_is_a_convolution_and_transposes_nothing(
    same_as_jax: Check, operators: Check
) -> None:
    def fn(w: dict, x: jax.Array) -> jax.Array:
        y = _conv(x, w["a"])
        b, h, width, c = y.shape
        y = y.reshape(b, h * width, c) @ w["b"]
        return _conv(y.reshape(b, h, width, 4), w["a"])

    options = {"input_layout": "nchw", "output_layout": "nchw", "weights": {"a": KERNEL, "b": _draw(8, 4)}}
    assert operators(same_as_jax(fn, IMAGE, **options)) == ["Conv", "Conv", "Conv"]


def test_a_product_of_two_activations_is_not_linear(same_as_jax: Check, operators: Check) -> None:
    assert operators(same_as_jax(jnp.matmul, _draw(2, 3), _draw(3, 4))) == ["MatMul"]
