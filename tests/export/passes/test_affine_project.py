"""Batch norms and layer scale go into weights; projections to heads and back are linear maps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

Check = Callable[..., Any]
HALF_TOLERANCE = 5e-3  # one rounding is 5e-4; JAX and the folded weights round at other places


def _draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _conv(x: jax.Array, kernel: jax.Array, groups: int = 1) -> jax.Array:
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=numbers, feature_group_count=groups
    )


IMAGE, KERNEL = _draw(2, 5, 6, 4), _draw(3, 3, 4, 8)
NORM = {
    "mean": _draw(8),
    "var": _draw(8, seed=1) ** 2 + 0.5,
    "scale": _draw(8, seed=2),
    "bias": _draw(8, seed=3),
}


def _norm(w: dict, y: jax.Array) -> jax.Array:
    return (y - w["mean"]) * (lax.rsqrt(w["var"] + 1e-5) * w["scale"]) + w["bias"]


@pytest.mark.parametrize("kernel", [KERNEL, _draw(3, 3, 1, 8)])
def test_a_batch_norm_goes_into_the_convolution(
    kernel: np.ndarray, same_as_jax: Check, operators: Check
) -> None:
    groups = IMAGE.shape[-1] // kernel.shape[2]
    weights = {"kernel": kernel, "conv_bias": _draw(8, seed=4), **NORM}
    model = same_as_jax(
        lambda w, x: _norm(w, _conv(x, w["kernel"], groups) + w["conv_bias"]),
        IMAGE,
        weights=weights,
        input_layout="nchw",
        output_layout="nchw",
    )
    assert operators(model) == ["Conv"]


def test_flax_s_batch_norm_in_half_precision_leaves_no_casts(same_as_jax: Check, operators: Check) -> None:
    norm = nn.BatchNorm(use_running_average=True, dtype=jnp.float16)
    weights = {
        "kernel": KERNEL,
        "norm": {
            "params": {"scale": NORM["scale"], "bias": NORM["bias"]},
            "batch_stats": {"mean": NORM["mean"], "var": NORM["var"]},
        },
    }

    def fn(w: Any, x: jax.Array) -> Any:
        return norm.apply(w["norm"], _conv(x, w["kernel"].astype(jnp.float16)))

    model = same_as_jax(
        fn,
        IMAGE.astype(np.float16),
        weights=weights,
        input_layout="nchw",
        output_layout="nchw",
        tolerance=HALF_TOLERANCE,
    )
    assert operators(model) == ["Conv"]


def test_a_norm_whose_statistics_are_untouched_goes_too(same_as_jax: Check, operators: Check) -> None:
    ones, zeros = np.ones(8, np.float32), np.zeros(8, np.float32)
    model = same_as_jax(
        lambda w, x: _norm(w, _conv(x, w["kernel"])),
        IMAGE,
        weights={"kernel": KERNEL, "mean": zeros, "var": ones, "scale": ones, "bias": zeros},
        input_layout="nchw",
        output_layout="nchw",
    )
    assert operators(model) == ["Conv"]


def test_layer_scale_goes_into_the_linear_map(same_as_jax: Check, operators: Check) -> None:
    weights = {"kernel": _draw(4, 8), "bias": _draw(8), "gamma": _draw(8, seed=5)}
    model = same_as_jax(
        lambda w, x: (x @ w["kernel"] + w["bias"]) * w["gamma"], _draw(2, 3, 4), weights=weights
    )
    assert operators(model) == ["MatMul", "Add"]


def test_a_norm_behind_something_else_is_a_product_and_a_sum(same_as_jax: Check, operators: Check) -> None:
    model = same_as_jax(lambda w, x: jnp.tanh(_norm(w, jnp.tanh(x))), _draw(2, 3, 8), weights=NORM)
    assert operators(model) == ["Tanh", "Mul", "Add", "Tanh"]


def test_no_folding_where_the_convolution_is_read_twice(same_as_jax: Check, operators: Check) -> None:
    def fn(w: dict, x: jax.Array) -> jax.Array:
        y = _conv(x, w["kernel"])
        return _norm(w, y) * y

    model = same_as_jax(
        fn, IMAGE, weights={"kernel": KERNEL, **NORM}, input_layout="nchw", output_layout="nchw"
    )
    assert operators(model) == ["Conv", "Sub", "Mul", "Add", "Mul"]


@pytest.mark.parametrize("table", [_draw(5, 6, 8), _draw(6, 1)])
def test_no_folding_of_what_varies_in_space(table: np.ndarray, same_as_jax: Check, operators: Check) -> None:
    weights = {"kernel": KERNEL, "table": table}
    model = same_as_jax(
        lambda w, x: _conv(x, w["kernel"]) * w["table"],
        IMAGE,
        weights=weights,
        input_layout="nchw",
        output_layout="nchw",
    )
    assert operators(model) == ["Conv", "Mul"]


def test_a_divisor_that_is_zero_stays(same_as_jax: Check, operators: Check) -> None:
    weights = {"kernel": np.abs(KERNEL), "by": np.array([0, 1] * 4, np.float32)}
    model = same_as_jax(
        lambda w, x: jnp.minimum(_conv(x, w["kernel"]) / w["by"], 9),
        np.abs(IMAGE),
        weights=weights,
        input_layout="nchw",
        output_layout="nchw",
    )
    assert operators(model) == ["Conv", "Div", "Min"]


TOKENS = _draw(2, 5, 12)


def test_projections_to_heads_and_back_are_linear_maps(same_as_jax: Check, operators: Check) -> None:
    weights = {"in": _draw(12, 3, 4), "bias": _draw(3, 4), "out": _draw(3, 4, 7), "last": _draw(7)}

    def fn(w: dict, x: jax.Array) -> jax.Array:
        heads = jnp.einsum("bnc,chd->bnhd", x, w["in"]) + w["bias"]
        return jnp.einsum("bnhd,hdc->bnc", jnp.tanh(heads), w["out"]) + w["last"]

    model = same_as_jax(fn, TOKENS, weights=weights, batches=(1, 3))
    assert operators(model) == ["MatMul", "Add", "Reshape", "Tanh", "Reshape", "MatMul", "Add"]


def test_other_orders_of_the_kernel(same_as_jax: Check) -> None:
    weights = {"in": _draw(3, 12, 4), "out": _draw(4, 7, 3)}

    def fn(w: dict, x: jax.Array) -> jax.Array:
        return jnp.einsum("bnhd,dch->bnc", jnp.einsum("bnc,hcd->bnhd", x, w["in"]), w["out"])

    same_as_jax(fn, TOKENS, weights=weights)


def test_a_bias_along_the_tokens_stays_an_addition(same_as_jax: Check, operators: Check) -> None:
    weights = {"in": _draw(12, 3, 4), "bias": _draw(5, 1, 4)}
    model = same_as_jax(
        lambda w, x: jnp.einsum("bnc,chd->bnhd", x, w["in"]) + w["bias"], TOKENS, weights=weights
    )
    assert operators(model) == ["MatMul", "Reshape", "Add"]


def test_dimensions_that_do_not_stand_side_by_side_are_summed_as_they_are(
    same_as_jax: Check, operators: Check
) -> None:
    weights = {"out": _draw(3, 4, 7)}
    model = same_as_jax(
        lambda w, x: jnp.einsum("bhnd,hdc->bnc", x, w["out"]), _draw(2, 3, 5, 4), weights=weights
    )
    assert operators(model).count("MatMul") == 1


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_flax_attention_is_one_projection_and_one_softmax(
    dtype: Any, same_as_jax: Check, operators: Check
) -> None:
    attention = nn.MultiHeadDotProductAttention(3, dtype=dtype, deterministic=True)
    weights = attention.init(jax.random.key(0), TOKENS)
    weights = jax.tree.map(lambda leaf: leaf + 0.1 * _draw(*leaf.shape), weights)

    options = {"tolerance": HALF_TOLERANCE} if dtype == np.float16 else {"batches": (1, 2)}
    found = operators(same_as_jax(attention.apply, TOKENS.astype(dtype), weights=weights, **options))
    assert found.count("Softmax") == 1
    assert not {"Div", "Exp", "ReduceMax"} & set(found)
    assert found.count("MatMul") == 4  # queries, keys and values; scores; values; out
