"""Attention: one projection, bias of the values behind, padded keys, softmax over the last dimension."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from hvjax.ops.attention import dot_product_attention, merge_heads, split_heads
from hvjax.ops.pooling import avg_pool_tokens

Check = Callable[..., Any]
HEADS, WIDTH = 2, 16
HALF_TOLERANCE = 4e-3  # several float16 roundings of 5e-4 each


def _weights(*names: str, bias: bool = True, dtype: type = np.float32) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    made: dict[str, Any] = {}
    for name in names:
        made[name] = {"kernel": (rng.standard_normal((WIDTH, WIDTH)) / 4).astype(dtype)}
        if bias:
            made[name]["bias"] = rng.standard_normal(WIDTH).astype(dtype)
    return made


def _dense(w: dict, x: jax.Array) -> jax.Array:
    return x @ w["kernel"] + w["bias"] if "bias" in w else x @ w["kernel"]


def _attention(w: dict, x: jax.Array, run: int = 1) -> jax.Array:
    source = avg_pool_tokens(x, run) if run > 1 else x
    q = split_heads(_dense(w["q"], x), HEADS)
    k, v = (split_heads(_dense(w[name], source), HEADS) for name in "kv")
    return _dense(w["proj"], merge_heads(dot_product_attention(q, k, v)))


def _draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("run", [1, 4])
@pytest.mark.parametrize("tokens", [16, 20, 23, 1 * 4])
@pytest.mark.parametrize("bias", [True, False])
def test_equal_to_jax_and_economical(tokens: int, run: int, bias: bool, same_as_jax: Check) -> None:
    weights = _weights("q", "k", "v", "proj", bias=bias)
    model = same_as_jax(
        lambda w, x: _attention(w, x, run), _draw(3, tokens, WIDTH), weights=weights, batches=(1, 3)
    )
    count = Counter(node.op_type for node in model.graph.node)
    assert count["Softmax"] == 1
    # q (alone if its tokens are others), k and v together, proj; and the two products of attention
    assert count["MatMul"] + count["Conv"] == (4 if run == 1 else 5)
    assert "Mul" not in count  # the scale is in the weights of q


def test_keys_are_padded_to_whole_rows_of_the_matrix_unit_in_float32_only(same_as_jax: Check) -> None:
    def mask_of(dtype: type, tokens: int) -> list[str]:
        weights = _weights("q", "k", "v", "proj", dtype=dtype)
        x = _draw(2, tokens, WIDTH).astype(dtype)
        tolerance = HALF_TOLERANCE if dtype == np.float16 else 1e-5
        model = same_as_jax(_on_weights_first, x, weights=weights, tolerance=tolerance)
        return [tensor.name for tensor in model.graph.initializer if tensor.name.startswith("mask/")]

    def _on_weights_first(w: dict, x: jax.Array) -> jax.Array:
        return _attention(w, x)

    assert mask_of(np.float32, 7) == ["mask/7of8"]
    assert mask_of(np.float32, 8) == []
    assert mask_of(np.float16, 7) == []


def test_on_an_image_nothing_but_heads_is_transposed(same_as_jax: Check) -> None:
    def fn(w: dict, x: jax.Array) -> jax.Array:
        b, h, width, c = x.shape
        y = lax.conv_general_dilated(x, w["conv"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        y = y + _attention(w, y.reshape(b, h * width, c), 4).reshape(y.shape)
        return lax.conv_general_dilated(
            y, w["conv"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    weights = {**_weights("q", "k", "v", "proj"), "conv": _draw(3, 3, WIDTH, WIDTH) / 12}
    model = same_as_jax(fn, _draw(2, 4, 6, WIDTH), weights=weights, input_layout="nchw", output_layout="nchw")
    count = Counter(node.op_type for node in model.graph.node)
    assert count["Transpose"] == 4  # q, k and v together, k once more, and the result
    assert count["Conv"] == 5 and count["AveragePool"] == 1 and count["MatMul"] == 2


@pytest.mark.parametrize("change", ["other keys", "masked", "scores read twice", "three heads axes"])
def test_related_forms_stay_right(change: str, same_as_jax: Check) -> None:
    def fn(w: dict, x: jax.Array, y: jax.Array) -> Any:
        q, k, v = (split_heads(_dense(w[name], x), HEADS) for name in "qkv")
        if change == "other keys":
            v = split_heads(_dense(w["v"], y), HEADS)
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k)
        if change == "masked":
            scores = jnp.where(jnp.arange(7) < 5, scores, -1e9)
        weights = jax.nn.softmax(scores, axis=2 if change == "three heads axes" else -1)
        out = merge_heads(jnp.einsum("bhqk,bkhd->bqhd", weights, v))
        return (out, scores) if change == "scores read twice" else out

    same_as_jax(fn, _draw(2, 7, WIDTH), _draw(2, 7, WIDTH) + 1, weights=_weights("q", "k", "v"))


@pytest.mark.parametrize("tokens", [16, 23])  # 23: keys would be padded to 24, and the weights with them
def test_attention_weights_that_are_an_output_keep_their_shape(tokens: int, same_as_jax: Check) -> None:
    def fn(w: dict, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        q, k, v = (split_heads(_dense(w[name], x), HEADS) for name in "qkv")
        seen = jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", q, k))
        return merge_heads(jnp.einsum("bhqk,bkhd->bqhd", seen, v)), seen

    model = same_as_jax(fn, _draw(2, tokens, WIDTH), weights=_weights("q", "k", "v"))
    assert [d.dim_value for d in model.graph.output[1].type.tensor_type.shape.dim] == [
        2,
        HEADS,
        tokens,
        tokens,
    ]
