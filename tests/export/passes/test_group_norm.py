"""Group norms, as Flax and as people write them, are one operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

Check = Callable[..., Any]
HALF_TOLERANCE = (
    5e-3  # one rounding of float16 is 5e-4; JAX rounds before scale and bias, ONNX Runtime behind
)
X = np.random.default_rng(0).standard_normal((2, 4, 5, 8)).astype(np.float32)
WEIGHTS = {
    "scale": np.linspace(0.5, 1.5, 8, dtype=np.float32),
    "bias": np.linspace(-1, 1, 8, dtype=np.float32),
}


@pytest.mark.parametrize(
    "options", [{"num_groups": 4}, {"num_groups": None, "group_size": 4}, {"num_groups": 8}]
)
@pytest.mark.parametrize("fast", [True, False])
def test_flax_s_group_norm(options: dict, fast: bool, same_as_jax: Check, operators: Check) -> None:
    norm = nn.GroupNorm(**options, use_fast_variance=fast)
    model = same_as_jax(norm.apply, X, weights={"params": WEIGHTS}, batches=(1, 3))
    assert operators(model) == ["Transpose", "GroupNormalization", "Transpose"]
    assert model.opset_import[0].version == 21


def test_without_scale_and_bias(same_as_jax: Check, operators: Check) -> None:
    norm = nn.GroupNorm(2, use_bias=False, use_scale=False)
    assert "GroupNormalization" in operators(same_as_jax(lambda x: norm.apply({}, x), X))


def test_nnx_s_group_norm(same_as_jax: Check, operators: Check) -> None:
    graph, state = nnx.split(nnx.GroupNorm(8, 4, rngs=nnx.Rngs(0)))
    model = same_as_jax(lambda s, x: nnx.merge(graph, s)(x), X, weights=state, input_layout="nchw")
    assert operators(model) == ["GroupNormalization", "Transpose"]


def test_half_precision_needs_no_casts(same_as_jax: Check, operators: Check) -> None:
    norm = nn.GroupNorm(4, dtype=jnp.float16)
    model = same_as_jax(
        norm.apply, X.astype(np.float16), weights={"params": WEIGHTS}, tolerance=HALF_TOLERANCE
    )
    assert operators(model) == ["Transpose", "GroupNormalization", "Transpose"]


def _by_groups_of_neighbours(w: dict, x: jax.Array, order: tuple[int, ...], power: float = -0.5) -> jax.Array:
    groups = x.reshape(2, 4, 5, 4, 2) if order == (1, 2, 4) else x.reshape(2, 4, 5, 2, 4)
    mean = groups.mean(order)
    var = (groups**2).mean(order) - mean**2
    if order == (1, 2, 4):
        mean, var = (jnp.repeat(v, 2, axis=1)[:, None, None] for v in (mean, var))
    else:
        mean, var = (jnp.tile(v, (1, 2))[:, None, None] for v in (mean, var))
    inverse = jax.lax.rsqrt(var + 1e-3) if power == -0.5 else 1 / (var + 1e-3)
    return (x - mean) * inverse * w["scale"] + w["bias"]


def test_by_hand(same_as_jax: Check, operators: Check) -> None:
    model = same_as_jax(lambda w, x: _by_groups_of_neighbours(w, x, (1, 2, 4)), X, weights=WEIGHTS)
    assert "GroupNormalization" in operators(model)


@pytest.mark.parametrize(("order", "power"), [((1, 2, 3), -0.5), ((1, 2, 4), -1.0)])
def test_not_for_groups_of_channels_apart_or_another_power(
    order: tuple[int, ...], power: float, same_as_jax: Check, operators: Check
) -> None:
    model = same_as_jax(lambda w, x: _by_groups_of_neighbours(w, x, order, power), X, weights=WEIGHTS)
    assert "GroupNormalization" not in operators(model)


def test_not_by_the_statistics_of_something_else(same_as_jax: Check, operators: Check) -> None:
    def fn(w: dict, x: jax.Array) -> jax.Array:
        groups = jnp.tanh(x).reshape(2, 4, 5, 4, 2)
        mean = groups.mean((1, 2, 4))
        var = jnp.maximum((groups**2).mean((1, 2, 4)) - mean**2, 0)
        mean, var = (jnp.repeat(v, 2, axis=1)[:, None, None] for v in (mean, var))
        return (x - mean) * jax.lax.rsqrt(var + 1e-3) * w["scale"]

    assert "GroupNormalization" not in operators(same_as_jax(fn, X, weights=WEIGHTS))


def test_not_for_one_pixel_which_tensorrt_refuses(same_as_jax: Check, operators: Check) -> None:
    norm = nn.GroupNorm(2)
    model = same_as_jax(norm.apply, X[:, :1, :1], weights={"params": WEIGHTS})
    assert "GroupNormalization" not in operators(model)


@pytest.mark.parametrize("shape", [(2, 6, 5, 4), (2, 9, 4), (2, 3, 4, 5, 6)])
@pytest.mark.parametrize(
    "options", [{}, {"use_fast_variance": False}, {"use_scale": False}, {"use_bias": False}]
)
def test_an_instance_norm_has_a_group_for_each_channel(
    shape: tuple[int, ...], options: dict[str, Any], same_as_jax: Check, operators: Check
) -> None:
    norm = nn.InstanceNorm(**options)
    drawn = {
        name: X.reshape(-1)[: shape[-1]] for name in ("scale", "bias") if options.get(f"use_{name}", True)
    }
    x = np.resize(X, shape) + np.arange(shape[-1], dtype=np.float32)
    model = same_as_jax(lambda w, x: norm.apply(w, x), x, weights={"params": drawn})
    found = [node for node in model.graph.node if node.op_type == "GroupNormalization"]
    assert len(found) == 1 and not {"Sub", "Sqrt", "ReduceMean"} & set(operators(model))
    assert {a.name: a.i for a in found[0].attribute}["num_groups"] == shape[-1]


def test_an_instance_norm_of_one_pixel_stays_as_it_is(same_as_jax: Check, operators: Check) -> None:
    norm = nn.InstanceNorm(use_scale=False, use_bias=False)
    model = same_as_jax(lambda x: norm.apply({}, x) + x, np.ones((2, 1, 1, 3), np.float32))
    assert "GroupNormalization" not in operators(model) and "LayerNormalization" not in operators(model)
