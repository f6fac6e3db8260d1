"""Attention of normalised tokens: products without bias, Gathers for windows, bias only where it matters."""

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
HEADS, WIDTH = 2, 16
HALF_TOLERANCE = 4e-3  # several float16 roundings of 5e-4 each


def _draw(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _weights(bias: bool = True, dtype: type = np.float32) -> dict[str, Any]:
    made: dict[str, Any] = {"norm": {"scale": 1 + _draw(WIDTH) / 4, "bias": _draw(WIDTH, seed=2)}}
    for seed, (name, width) in enumerate(
        (("qkv", 3 * WIDTH), ("proj", WIDTH), ("q", WIDTH), ("kv", 2 * WIDTH))
    ):
        made[name] = {"kernel": (_draw(WIDTH, width, seed=seed + 3) / 4).astype(dtype)}
        if bias:
            made[name]["bias"] = _draw(width, seed=seed + 9).astype(dtype)
    return made


def _dense(w: dict, x: jax.Array) -> jax.Array:
    return x @ w["kernel"] + w["bias"] if "bias" in w else x @ w["kernel"]


def _norm(w: dict, x: jax.Array) -> jax.Array:
    return layer_norm(x, w["norm"]["scale"], w["norm"]["bias"], 1e-5)


def _plain(w: dict, x: jax.Array, late_scale: bool = False, added: Any = None) -> jax.Array:
    """(b, n, c), one projection, scores scaled before or after the product."""
    b, n, c = x.shape
    qkv = _dense(w["qkv"], _norm(w, x)).reshape(b, n, 3, HEADS, c // HEADS)
    q, k, v = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
    scale = np.asarray((c // HEADS) ** -0.5, x.dtype)
    scores = jnp.einsum("bqhd,bkhd->bhqk", q if late_scale else q * scale, k)
    scores = scores * scale if late_scale else scores
    scores = scores if added is None else scores + added
    weights = jax.nn.softmax(scores.astype(jnp.float32)).astype(x.dtype)
    return _dense(w["proj"], jnp.einsum("bhqk,bkhd->bqhd", weights, v).reshape(b, n, c))


def _kinds(model: Any) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


@pytest.mark.parametrize("tokens", [12, 9])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("late_scale", [True, False])
def test_products_without_bias(tokens: int, bias: bool, late_scale: bool, same_as_jax: Check) -> None:
    def fn(w: dict, x: jax.Array) -> jax.Array:
        return _plain(w, x, late_scale)

    count = _kinds(same_as_jax(fn, _draw(3, tokens, WIDTH), weights=_weights(bias), batches=(1, 3)))
    assert count["MatMul"] == 4 and count["Split"] == 1 and count["Slice"] == 0
    assert count["Gather"] == (0 if tokens % 4 == 0 else 2)  # to whole rows of 4 float32 numbers, and back
    # the bias of the queries, the padding's mask and the bias of proj with that of the values in it
    assert count["Add"] == (2 if bias else 0) + (tokens % 4 != 0)
    assert count["Mul"] == late_scale


def test_half_precision_needs_no_padding(same_as_jax: Check) -> None:
    def fn(w: dict, x: jax.Array) -> jax.Array:
        return _plain(w, x)

    x = _draw(2, 9, WIDTH).astype(np.float16)
    count = _kinds(same_as_jax(fn, x, weights=_weights(dtype=np.float16), tolerance=HALF_TOLERANCE))
    assert count["Gather"] == 0 and count["Cast"] == 2 and count["Softmax"] == 1


@pytest.mark.parametrize("table", [None, np.float16])
def test_half_precision_is_padded_where_values_are_wider(table: Any, same_as_jax: Check) -> None:
    """To a multiple of 8; the mask of the padding stays within what the type can hold."""

    def fn(w: dict, x: jax.Array) -> jax.Array:
        qkv = _dense(w["wide"], _norm(w, x)).reshape(*x.shape[:2], HEADS, 16)
        scores = jnp.einsum("bqhd,bkhd->bhqk", qkv[..., :4], qkv[..., 4:8])
        scores = scores if table is None else scores + w["table"]
        weights = jax.nn.softmax(scores.astype(jnp.float32)).astype(x.dtype)
        return jnp.einsum("bhqk,bkhd->bqhd", weights, qkv[..., 8:]).reshape(x.shape)

    wide = {"kernel": _draw(WIDTH, 2 * WIDTH) / 4, "bias": _draw(2 * WIDTH)}
    weights = jax.tree.map(lambda leaf: leaf.astype(np.float16), {"wide": wide, "table": _draw(HEADS, 9, 9)})
    weights["norm"] = _weights()["norm"]
    x = _draw(2, 9, WIDTH).astype(np.float16)
    model = same_as_jax(fn, x, weights=weights, tolerance=HALF_TOLERANCE)
    assert _kinds(model)["Gather"] == 2
    held = [onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
    assert any(data.ndim >= 1 and data.shape[-1] == 16 for data in held)  # 9 tokens and 7 of padding
    assert all(np.isfinite(data).all() for data in held)


def test_the_next_projection_sums_over_heads_where_nothing_is_cut_off(same_as_jax: Check) -> None:
    def fn(w: dict, x: jax.Array) -> jax.Array:
        return _plain(w, x)

    summed = _kinds(same_as_jax(fn, _draw(1, 12, WIDTH), weights=_weights()))
    assert summed["ReduceSum"] == 1 and summed["Transpose"] == 3  # of q, k and v
    for batches in ((2,), (1, 2)):  # TensorRT would copy the weights for each image
        moved = _kinds(same_as_jax(fn, _draw(2, 12, WIDTH), weights=_weights(), batches=batches))
        assert moved["ReduceSum"] == 0 and moved["Transpose"] == 4
    padded = _kinds(same_as_jax(fn, _draw(1, 9, WIDTH), weights=_weights()))
    assert padded["ReduceSum"] == 0 and padded["Transpose"] == 4
    half = _draw(1, 12, WIDTH).astype(np.float16)
    fused = _kinds(same_as_jax(fn, half, weights=_weights(dtype=np.float16), tolerance=HALF_TOLERANCE))
    assert fused["ReduceSum"] == 0  # TensorRT writes the result of its attention kernel in order


@pytest.mark.parametrize("shape", [(1, HEADS, 9, 9), (HEADS, 1, 9), (9, 9)])
def test_a_table_is_added_once_with_the_mask_of_the_padding(shape: tuple, same_as_jax: Check) -> None:
    weights = {**_weights(), "table": _draw(*shape)}
    model = same_as_jax(lambda w, x: _plain(w, x, added=w["table"]), _draw(2, 9, WIDTH), weights=weights)
    assert _kinds(model)["Add"] == 3
    assert "table" in {tensor.name for tensor in model.graph.initializer}


def _windowed(w: dict, x: jax.Array, size: int, shift: int, early: bool) -> jax.Array:
    """(b, h, w, c) in windows of size^2, cyclically shifted; windows cut before or after the projection."""
    b, h, width, c = x.shape
    r, s, d = h // size, width // size, c // HEADS

    def cut(y: jax.Array) -> jax.Array:
        y = y.reshape(b, r, size, s, size, y.shape[-1]).transpose(0, 1, 3, 2, 4, 5)
        return y.reshape(b * r * s, size * size, -1)

    y = jnp.roll(_norm(w, x), (-shift, -shift), (1, 2)) if shift else _norm(w, x)
    qkv = _dense(w["qkv"], cut(y)) if early else cut(_dense(w["qkv"], y))
    q, k, v = qkv.reshape(-1, size * size, 3, HEADS, d).transpose(2, 0, 3, 1, 4)
    scores = q * np.float32(d**-0.5) @ k.swapaxes(-1, -2) + w["table"]
    if shift:
        scores = scores.reshape(b, r * s, HEADS, size**2, size**2) + w["mask"][:, None]
        scores = scores.reshape(-1, HEADS, size**2, size**2)
    out = (jax.nn.softmax(scores) @ v).transpose(0, 2, 1, 3).reshape(b, r, s, size, size, c)
    out = _dense(w["proj"], out.transpose(0, 1, 3, 2, 4, 5).reshape(b, h, width, c))
    return x + (jnp.roll(out, (shift, shift), (1, 2)) if shift else out)


@pytest.mark.parametrize("size", [3, 4])
@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize("early", [True, False])
def test_windows_and_rolls_are_two_gathers(size: int, shift: int, early: bool, same_as_jax: Check) -> None:
    n = size * size
    weights = {**_weights(), "table": _draw(HEADS, n, n), "mask": np.where(_draw(6, n, n) > 1, -100, 0)}
    weights["mask"] = weights["mask"].astype(np.float32)

    def fn(w: dict, x: jax.Array) -> jax.Array:
        return _windowed(w, x, size, shift, early)

    count = _kinds(same_as_jax(fn, _draw(2, 2 * size, 3 * size, WIDTH), weights=weights, batches=(1, 2)))
    # the last roll comes after proj and is left as it is
    assert count["Gather"] == 2 and count["Transpose"] == 4 and count["Slice"] == (4 if shift else 0)
    assert count["MatMul"] == 4 and count["Softmax"] == 1


def test_keys_and_values_of_other_tokens_have_their_own_projection(same_as_jax: Check) -> None:
    def fn(w: dict, x: jax.Array, y: jax.Array) -> jax.Array:
        b, n, c = x.shape
        q = _dense(w["q"], _norm(w, x)).reshape(b, n, HEADS, -1)
        kv = _dense(w["kv"], _norm(w, y)).reshape(b, y.shape[1], 2, HEADS, -1)
        weights = jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", q, kv[:, :, 0]))
        return _dense(w["proj"], jnp.einsum("bhqk,bkhd->bqhd", weights, kv[:, :, 1]).reshape(b, n, c))

    count = _kinds(same_as_jax(fn, _draw(2, 6, WIDTH), _draw(2, 5, WIDTH), weights=_weights()))
    assert count["MatMul"] == 6 and count["Gather"] == 1


@pytest.mark.parametrize("what", ["attention", "scores", "projection", "result"])
def test_what_is_also_an_output_stays_right(what: str, same_as_jax: Check) -> None:
    def fn(w: dict, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        b, n, c = x.shape
        projection = _dense(w["qkv"], _norm(w, x))
        qkv = projection.reshape(b, n, 3, HEADS, c // HEADS)
        scores = jnp.einsum("bqhd,bkhd->bhqk", qkv[:, :, 0], qkv[:, :, 1])
        attention = jax.nn.softmax(scores)
        result = jnp.einsum("bhqk,bkhd->bqhd", attention, qkv[:, :, 2]).reshape(b, n, c)
        seen = {"attention": attention, "scores": scores, "projection": projection, "result": result}
        return _dense(w["proj"], result), seen[what]

    same_as_jax(fn, _draw(2, 9, WIDTH), weights=_weights())


@pytest.mark.parametrize("change", ["computed bias", "keys scaled each", "values of each head swapped"])
def test_related_forms_stay_right(change: str, same_as_jax: Check) -> None:
    def fn(w: dict, x: jax.Array, y: jax.Array) -> jax.Array:
        b, n, c = x.shape
        qkv = _dense(w["qkv"], _norm(w, x)).reshape(b, n, 3, HEADS, c // HEADS)
        q, k, v = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
        k = k * w["norm"]["scale"][:8] if change == "keys scaled each" else k
        v = v[:, :, ::-1] if change == "values of each head swapped" else v
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k)
        scores = scores + y if change == "computed bias" else scores
        out = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), v)
        return out.swapaxes(2, 3).reshape(b, n, c)

    same_as_jax(fn, _draw(2, 9, WIDTH), _draw(9, 9), weights=_weights())


@pytest.mark.parametrize("tokens", [16, 9])
@pytest.mark.parametrize("bias", [True, False])
def test_on_an_image_one_convolution_makes_all_three(tokens: int, bias: bool, same_as_jax: Check) -> None:
    """Without a layer norm the image keeps its channels first."""

    def fn(w: dict, x: jax.Array) -> jax.Array:
        b, h, width, c = x.shape
        y = jax.lax.conv_general_dilated(
            x, w["conv"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        qkv = _dense(w["qkv"], y.reshape(b, h * width, c)).reshape(b, h * width, 3, HEADS, c // HEADS)
        q, k, v = qkv.transpose(2, 0, 3, 1, 4)
        out = jax.nn.softmax(q * np.float32(0.3) @ k.swapaxes(-1, -2)) @ v
        return y + _dense(w["proj"], out.swapaxes(1, 2).reshape(y.shape))

    weights = {**_weights(bias), "conv": _draw(3, 3, WIDTH, WIDTH) / 12}
    side = int(tokens**0.5)
    model = same_as_jax(
        fn, _draw(2, side, side, WIDTH), weights=weights, input_layout="nchw", output_layout="nchw"
    )
    count = _kinds(model)
    assert count["Split"] == 1 and count["Conv"] == 3 and count["MatMul"] == 2 and count["Mul"] == 0
    names = {tensor.name for tensor in model.graph.initializer}
    assert ("mask/9of12" in names) == (tokens == 9)
