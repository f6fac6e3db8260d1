"""Keys and values of a map that a depthwise convolution reduced: sums of tokens; attention of one head."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest

from hvjax.ops.normalize import layer_norm

Check = Callable[..., Any]
WIDTH = 16
HALF_TOLERANCE = 6e-3  # several float16 roundings of 5e-4 each, at other places than JAX's


def _draw(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _weights(window: int, groups: int = WIDTH, bias: bool = True, dtype: type = np.float32) -> dict[str, Any]:
    taps = _draw(window, window, WIDTH // groups, WIDTH, seed=7) / (window * (WIDTH // groups) ** 0.5)
    made: dict[str, Any] = {
        "norm": {"scale": 1 + _draw(WIDTH) / 4, "bias": _draw(WIDTH, seed=2)},
        "sr": {"kernel": taps.astype(dtype), "bias": _draw(WIDTH, seed=8).astype(dtype)},
    }
    for seed, name in enumerate(("q", "k", "v", "proj")):
        made[name] = {"kernel": (_draw(WIDTH, WIDTH, seed=seed + 3) / 4).astype(dtype)}
        if bias:
            made[name]["bias"] = _draw(WIDTH, seed=seed + 9).astype(dtype)
    return made


def _dense(w: dict, x: jax.Array) -> jax.Array:
    return x @ w["kernel"] + w["bias"] if "bias" in w else x @ w["kernel"]


def _reduced(w: dict, x: jax.Array, stride: int, groups: int, padding: Any = "VALID") -> jax.Array:
    numbers = ("NHWC", "HWIO", "NHWC")
    y = jax.lax.conv_general_dilated(
        x, w["kernel"], (stride, stride), padding, dimension_numbers=numbers, feature_group_count=groups
    )
    return y + w["bias"]


def _block(
    w: dict, x: jax.Array, heads: int, stride: int, groups: int = WIDTH, padding: Any = "VALID"
) -> jax.Array:
    """Image + attention of its layer norm, keys and values reduced."""
    b, h, width, c = x.shape
    y = layer_norm(x, w["norm"]["scale"], w["norm"]["bias"], 1e-5)
    source = _reduced(w["sr"], y, stride, groups, padding).reshape(b, -1, c)
    q = _dense(w["q"], y.reshape(b, h * width, c)).reshape(b, h * width, heads, c // heads)
    k, v = (_dense(w[name], source).reshape(b, -1, heads, c // heads) for name in ("k", "v"))
    scores = jnp.einsum("bqhd,bkhd->bhqk", q * np.asarray(0.3, x.dtype), k).astype(jnp.float32)
    scores = scores + w["table"] if "table" in w else scores
    weights = jax.nn.softmax(scores).astype(x.dtype)
    out = jnp.einsum("bhqk,bkhd->bqhd", weights, v).reshape(b, -1, c)
    return x + _dense(w["proj"], out).reshape(x.shape)


def _kinds(model: Any) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("window", [2, 3, 4])
@pytest.mark.parametrize("bias", [True, False])
def test_the_convolution_becomes_a_sum(heads: int, window: int, bias: bool, same_as_jax: Check) -> None:
    def fn(w: dict, x: jax.Array) -> jax.Array:
        return _block(w, x, heads, window)

    rows, columns = 2 * window, 3 * window  # 6 keys
    weights = {**_weights(window, bias=bias), "table": _draw(heads, rows * columns, 6, seed=20)}
    count = _kinds(same_as_jax(fn, _draw(3, rows, columns, WIDTH), weights=weights, batches=(1, 3)))
    # 9 summands are 3 x 3 and 16 are 4 x 4
    assert count["ReduceSum"] == (1 if window == 2 else 2)
    assert count["Conv"] == 0 and count["Gather"] == 1 and count["Mul"] == 1
    # with one head the map behind the attention is a part of the values
    assert count["MatMul"] == (5 if heads == 1 else 6)
    # table (with the mask of the padding), bias of the queries, bias of the result, residual sum
    assert count["Add"] == 3 + bias


def test_half_precision_adds_up_in_float32(same_as_jax: Check) -> None:
    def fn(w: dict, x: jax.Array) -> jax.Array:
        return _block(w, x, 2, 4)

    x = _draw(2, 8, 12, WIDTH).astype(np.float16)
    model = same_as_jax(fn, x, weights=_weights(4, dtype=np.float16), tolerance=HALF_TOLERANCE)
    assert _kinds(model)["ReduceSum"] == 2 and _kinds(model)["Conv"] == 0
    kernel = next(tensor for tensor in model.graph.initializer if tensor.name == "sr.kernel")
    assert kernel.data_type == 1  # float32


@pytest.mark.parametrize("table", [None, np.float16, np.float32])
def test_one_head_is_padded_in_half_precision_too(table: Any, same_as_jax: Check) -> None:
    def fn(w: dict, x: jax.Array) -> jax.Array:
        return _block(w, x, 1, 2)

    weights = _weights(2, dtype=np.float16)
    if table is not None:
        weights["table"] = _draw(1, 24, 6).astype(table)
    x = _draw(2, 4, 6, WIDTH).astype(np.float16)
    model = same_as_jax(fn, x, weights=weights, tolerance=HALF_TOLERANCE)
    added = [onnx.numpy_helper.to_array(t) for t in model.graph.initializer if list(t.dims)[-1:] == [8]]
    assert len(added) == 1 and (added[0][..., 6:] < -6e4).all() and np.isfinite(added[0]).all()


@pytest.mark.parametrize("what", ["whole", "overlapping", "padded", "cut off"])
def test_other_convolutions_stay(what: str, same_as_jax: Check) -> None:
    """Not depthwise, windows that share pixels, zeros around the map, pixels left over at the end."""
    window = 3 if what == "overlapping" else 2
    groups = 1 if what == "whole" else WIDTH
    padding = ((0, 2), (0, 2)) if what == "padded" else "VALID"

    def fn(w: dict, x: jax.Array) -> jax.Array:
        return _block(w, x, 2, 2, groups, padding)

    x = _draw(2, 5, 7, WIDTH) if what in ("overlapping", "cut off") else _draw(2, 4, 6, WIDTH)
    count = _kinds(same_as_jax(fn, x, weights=_weights(window, groups)))
    assert count["Conv"] >= 1 and count["Mul"] == 0


@pytest.mark.parametrize("seen", ["reduced", "result"])
def test_what_is_also_an_output_stays_right(seen: str, same_as_jax: Check) -> None:
    def fn(w: dict, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        b, c = x.shape[0], x.shape[-1]
        y = layer_norm(x, w["norm"]["scale"], w["norm"]["bias"], 1e-5)
        source = _reduced(w["sr"], y, 2, WIDTH)
        tokens, pooled = y.reshape(b, -1, 1, c), source.reshape(b, -1, 1, c)
        q, k, v = _dense(w["q"], tokens), _dense(w["k"], pooled), _dense(w["v"], pooled)
        weights = jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", q, k))
        result = jnp.einsum("bhqk,bkhd->bqhd", weights, v).reshape(x.shape)
        return _dense(w["proj"], result), {"reduced": source, "result": result}[seen]

    same_as_jax(fn, _draw(2, 4, 6, WIDTH), weights=_weights(2))
