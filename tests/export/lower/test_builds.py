"""One engine of each kind of function: what ONNX Runtime takes, TensorRT for RTX must take too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

from export._optional import available
from export.batch import BatchRange
from export.bridge import convert
from export.runtimes import BuildOptions, make

pytestmark = pytest.mark.skipif(
    not available("tensorrt_rtx_bindings"), reason="TensorRT for RTX is not installed: hvjax[tensorrt-rtx]"
)

NHWC = ("NHWC", "HWIO", "NHWC")
KERNEL = np.random.default_rng(0).standard_normal((3, 3, 6, 6)).astype(np.float32)


def _layer(layer: nn.Module) -> Callable[[jax.Array], Any]:
    weights = layer.init(jax.random.key(0), jnp.zeros((1, 8, 10, 6)))
    return lambda x: layer.apply(jax.tree.map(lambda w: w.astype(x.dtype), weights), x)


def _upsampled(x: jax.Array) -> jax.Array:
    def conv(y: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(y, KERNEL.astype(y.dtype), (1, 1), "SAME", dimension_numbers=NHWC)

    large = jax.image.resize(conv(x), (x.shape[0], 16, 20, 6), "linear")
    larger = conv(large.astype(x.dtype)).repeat(2, 1).repeat(2, 2)
    return conv(larger)


def _sampled(x: jax.Array) -> jax.Array:
    at = jnp.clip((jnp.abs(x[..., :2]) * 4).astype(jnp.int32), 0, 7)
    return jax.vmap(lambda image, i: image[i[..., 0], i[..., 1]])(x, at)


FUNCTIONS: dict[str, Callable[[jax.Array], Any]] = {
    "a transposed convolution": _layer(nn.ConvTranspose(4, (3, 3), strides=(2, 2))),
    "a transposed convolution with gaps": _layer(nn.ConvTranspose(4, (2, 2), strides=(3, 3))),
    "a dilated transposed convolution": _layer(
        nn.ConvTranspose(4, (3, 3), strides=(2, 2), kernel_dilation=(2, 2))
    ),
    "resize": _upsampled,
    "order": lambda x: (jnp.argmax(x, -1), jnp.sort(x, 1), lax.top_k(x, 3), jnp.argmax(x[0, 0, 0])),
    "running": lambda x: (jnp.cumsum(x, 1), lax.cummax(x, 2), jnp.cumprod(x, 1)),
    "windows": lambda x: (
        nn.max_pool(x, (3, 3), (2, 2), "SAME"),
        lax.reduce_window(x, np.array(1, x.dtype), lax.mul, (1, 2, 2, 1), (1, 2, 2, 1), "VALID"),
    ),
    "padding": lambda x: (
        jnp.pad(x, ((0, 0), (1, 2), (2, 1), (0, 0)), mode="reflect"),
        lax.pad(x, np.array(0, x.dtype), ((0, 0, 0), (1, 1, 1), (-1, 0, 2), (0, 0, 0))),
    ),
    "gathers": lambda x: (
        x[:, np.array([0, 1]), np.array([3, 1])],
        jnp.take_along_axis(x, jnp.argmax(x, 1, keepdims=True), 1),
        _sampled(x),
    ),
    "scatters": lambda x: (x.at[:, [0, 3]].set(x[:, [1, 2]]), x.at[:, [3, 3, 1]].add(x[:, :3])),
    "flags": lambda x: ((x > 0).any(1), jnp.where((x > -1).all(-1, keepdims=True), x, 0), jnp.isfinite(x)),
    "formulas": lambda x: (jnp.log1p(x * x), jnp.expm1(x), jnp.cbrt(x), lax.erf_inv(jnp.tanh(x) / 2)),
    "activations": lambda x: (nn.softplus(x), nn.elu(x), nn.hard_swish(x), nn.logsumexp(x, axis=-1)),
    "loops": lambda x: lax.scan(lambda c, w: (jnp.tanh(c @ w), c.sum(-1)), x, KERNEL[0].astype(x.dtype)),
    "branches": lambda x: lax.cond(x.sum() > 0, jnp.sin, lambda y: 2 * y, x),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_tensorrt_builds(name: str, dtype: Any) -> None:
    model = convert(FUNCTIONS[name], jax.ShapeDtypeStruct((2, 8, 10, 6), dtype))
    built = make("tensorrt_rtx").build(model.SerializeToString(), BuildOptions(BatchRange(2, 2, 2)))
    assert built.engine


def test_tensorrt_builds_what_repeats_a_value_along_an_open_batch() -> None:
    token = np.ones((1, 1, 6), np.float32)

    def fn(x: jax.Array) -> jax.Array:
        tokens = jnp.broadcast_to(token, (x.shape[0], 1, 6))
        return jnp.concatenate([tokens, x, tokens * x[:, :1]], 1)

    model = convert(fn, jax.ShapeDtypeStruct((2, 5, 6), np.float32), dynamic_batch=True)
    assert make("tensorrt_rtx").build(model.SerializeToString(), BuildOptions(BatchRange(1, 2, 8))).engine
