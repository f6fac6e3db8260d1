"""Layer norm is one node in each spelling and precision; other normalisations are left as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

from hvjax.ops.normalize import layer_norm

Check = Callable[..., Any]
# scale, bias and result are rounded to float16 once each
HALF_TOLERANCE = 2e-3
CHANNELS = 12


def _draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


WEIGHTS = {"scale": _draw(CHANNELS), "bias": _draw(CHANNELS) + 1}


def _ours(w: dict, x: jax.Array) -> jax.Array:
    return layer_norm(x, w["scale"], w["bias"], 1e-3)


def _flax(fast: bool) -> Callable:
    def fn(w: dict, x: jax.Array) -> jax.Array:
        return nn.LayerNorm(use_fast_variance=fast, epsilon=1e-3, dtype=x.dtype).apply({"params": w}, x)

    return fn


def _bare(w: dict, x: jax.Array) -> jax.Array:
    return layer_norm(x, jnp.ones(CHANNELS), jnp.zeros(CHANNELS), 1e-3)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("fn", [_ours, _flax(fast=True), _flax(fast=False), _bare])
def test_layer_norm(fn: Callable, dtype: type, same_as_jax: Check, operators: Check) -> None:
    x = (3 + 2 * _draw(2, 5, CHANNELS)).astype(dtype)
    tolerance = HALF_TOLERANCE if dtype == np.float16 else 1e-5
    model = same_as_jax(fn, x, weights=WEIGHTS, tolerance=tolerance)
    assert operators(model) == ["LayerNormalization"]
    attributes = {a.name: a for a in model.graph.node[0].attribute}
    assert attributes["axis"].i == -1 and attributes["stash_type"].i == 1
    assert attributes["epsilon"].f == np.float32(1e-3)


def test_several_axes_together(same_as_jax: Check, operators: Check) -> None:
    def fn(x: jax.Array) -> jax.Array:
        centred = x - x.mean((2, 3), keepdims=True)
        return centred * lax.rsqrt(jnp.square(centred).mean((2, 3), keepdims=True) + 1e-5)

    assert operators(same_as_jax(fn, _draw(2, 3, 4, 5))) == ["LayerNormalization"]


def _one_group(w: dict, x: jax.Array) -> jax.Array:
    wide = x.astype(jnp.float32)
    centred = wide - wide.mean((1, 2, 3), keepdims=True)
    normal = centred * lax.rsqrt(jnp.square(centred).mean((1, 2, 3), keepdims=True) + 1e-5)
    return (normal * w["scale"] + w["bias"]).astype(x.dtype)


def test_over_all_axes_it_is_a_group_norm_in_the_layout_at_hand(same_as_jax: Check, operators: Check) -> None:
    options = {"weights": WEIGHTS, "input_layout": "nchw", "output_layout": "nchw"}
    model = same_as_jax(_one_group, 2 + _draw(2, 3, 4, CHANNELS), batches=(1, 3), **options)
    assert operators(model) == ["GroupNormalization"]
    assert model.opset_import[0].version == 21  # older ones scale by group, not by channel
    half = (2 + _draw(2, 3, 4, CHANNELS)).astype(np.float16)
    found = operators(same_as_jax(_one_group, half, tolerance=HALF_TOLERANCE, **options))
    assert found == ["GroupNormalization"]  # its own statistics are float32, the casts are not needed


def test_a_group_norm_of_one_pixel_is_a_layer_norm_of_its_channels(
    same_as_jax: Check, operators: Check
) -> None:
    options = {"weights": WEIGHTS, "input_layout": "nchw", "output_layout": "nchw", "batches": (1, 3)}
    assert operators(same_as_jax(_one_group, 2 + _draw(2, 1, 1, CHANNELS), **options)) == [
        "LayerNormalization"
    ]


def test_after_a_convolution_only_the_result_is_moved(same_as_jax: Check, operators: Check) -> None:
    def fn(w: dict, x: jax.Array) -> jax.Array:
        y = lax.conv_general_dilated(x, w["conv"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return _ours(w, y)

    weights = {**WEIGHTS, "conv": _draw(3, 3, 3, CHANNELS)}
    model = same_as_jax(fn, _draw(2, 5, 7, 3), weights=weights, input_layout="nchw", batches=(1, 3))
    assert operators(model) == ["Conv", "Transpose", "LayerNormalization"]


def test_statistics_that_are_also_an_output_stay(same_as_jax: Check, operators: Check) -> None:
    def fn(w: dict, x: jax.Array) -> tuple[jax.Array, ...]:
        centred = x - x.mean(-1, keepdims=True)
        normal = centred * lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-3)
        return normal * w["scale"], normal, centred

    found = operators(same_as_jax(fn, _draw(2, 3, CHANNELS), weights=WEIGHTS))
    assert sorted(found) == ["LayerNormalization", "Mul", "ReduceMean", "Sub"]


def _normal(x: jax.Array, axes: Any, of: Any = None, about: Any = None) -> jax.Array:
    centred = x - x.mean(axes, keepdims=True)
    seen = centred if about is None else about
    return (centred if of is None else of) * lax.rsqrt(jnp.square(seen).mean(axes, keepdims=True) + 1e-3)


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: _normal(x, 1),
        lambda x: _normal(x, (0, 2)) + _normal(x, 0),
        lambda x: _normal(x, -1, about=x),
        lambda x: _normal(x, -1, of=x),
        lambda x: (x - x.mean(-1, keepdims=True)) * lax.rsqrt(x.var(1, keepdims=True) + 1e-3),
        lambda x: (x - x.mean(0)) * lax.rsqrt(x.var(-1, keepdims=True) + 1e-3),
    ],
)
def test_not_layer_norm(fn: Callable, same_as_jax: Check, operators: Check) -> None:
    found = operators(same_as_jax(fn, _draw(2, 5, 5), tolerance=2e-5))
    assert "LayerNormalization" not in found
