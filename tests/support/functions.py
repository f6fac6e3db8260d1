"""JAX functions as vision models call them, one line each: what exporters are compared on.

Each is (group, what a user writes, callable, shapes or arrays of its arguments). The first argument is an
image batch in NHWC order where it has four axes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

IMAGE, TOKENS, ROWS = (2, 12, 16, 8), (2, 24, 16), (4, 32)


@dataclass(frozen=True)
class Function:
    """`arrays` are drawn from `seed`; integer shapes are given as ready arrays."""

    group: str
    name: str
    fn: Callable[..., Any]
    inputs: tuple[Any, ...]

    def arrays(self, seed: int = 0) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        return [
            given if isinstance(given, np.ndarray) else rng.normal(size=given).astype(np.float32)
            for given in self.inputs
        ]


def kernel(*shape: int) -> np.ndarray:
    return np.random.default_rng(9).normal(size=shape).astype(np.float32) / np.float32(
        np.sqrt(np.prod(shape[:-1]))
    )


def conv(
    x: jax.Array, w: np.ndarray, strides: Any = (1, 1), padding: Any = "SAME", **options: Any
) -> jax.Array:
    return lax.conv_general_dilated(
        x, w, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC"), **options
    )


def linen(module: nn.Module, *shape: int) -> Callable[[jax.Array], Any]:
    """The module with weights drawn once."""
    variables = module.init(jax.random.key(1), jnp.zeros(shape))
    return lambda x: module.apply(variables, x)


def attention(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / np.sqrt(q.shape[-1]).astype(np.float32)
    return jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores, -1), v)


def windows(x: jax.Array) -> jax.Array:
    b, h, w, c = x.shape
    x = jnp.roll(x, (-2, -2), (1, 2)).reshape(b, h // 4, 4, w // 4, 4, c)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(-1, 16, c)


HEADS = (2, 24, 4, 8)
INDEX = np.array([3, 0, 2, 2], np.int32)

_ALL: list[tuple[str, str, Callable[..., Any], tuple[Any, ...]]] = [
    # convolutions
    ("convolution", "nn.Conv(16, (3, 3))", linen(nn.Conv(16, (3, 3)), *IMAGE), (IMAGE,)),
    (
        "convolution",
        "nn.Conv(16, (3, 3), 2, padding='VALID')",
        linen(nn.Conv(16, (3, 3), 2, "VALID"), *IMAGE),
        (IMAGE,),
    ),
    (
        "convolution",
        "nn.Conv(8, (7, 7), feature_group_count=8)",
        linen(nn.Conv(8, (7, 7), feature_group_count=8), *IMAGE),
        (IMAGE,),
    ),
    (
        "convolution",
        "nn.Conv(16, (3, 3), feature_group_count=2, strides=2)",
        linen(nn.Conv(16, (3, 3), 2, feature_group_count=2), *IMAGE),
        (IMAGE,),
    ),
    (
        "convolution",
        "nn.Conv(16, (3, 3), kernel_dilation=2)",
        linen(nn.Conv(16, (3, 3), kernel_dilation=2), *IMAGE),
        (IMAGE,),
    ),
    ("convolution", "nn.Conv(16, (4, 3), 2) on odd padding", linen(nn.Conv(16, (4, 3), 2), *IMAGE), (IMAGE,)),
    (
        "convolution",
        "nn.Conv(16, (3, 3), padding='CIRCULAR')",
        linen(nn.Conv(16, (3, 3), padding="CIRCULAR"), *IMAGE),
        (IMAGE,),
    ),
    ("convolution", "nn.Conv(16, (5,)) in one dimension", linen(nn.Conv(16, (5,)), *TOKENS), (TOKENS,)),
    (
        "convolution",
        "nn.Conv(4, (3, 3, 3)) in three dimensions",
        linen(nn.Conv(4, (3, 3, 3)), 1, 6, 6, 6, 4),
        ((1, 6, 6, 6, 4),),
    ),
    (
        "convolution",
        "nn.ConvTranspose(16, (2, 2), (2, 2))",
        linen(nn.ConvTranspose(16, (2, 2), (2, 2)), *IMAGE),
        (IMAGE,),
    ),
    (
        "convolution",
        "nn.ConvTranspose(16, (3, 3), (2, 2), padding='VALID')",
        linen(nn.ConvTranspose(16, (3, 3), (2, 2), "VALID"), *IMAGE),
        (IMAGE,),
    ),
    (
        "convolution",
        "lax.conv_general_dilated, padding ((0, 1), (2, 0))",
        lambda x: conv(x, kernel(3, 3, 8, 8), padding=((0, 1), (2, 0))),
        (IMAGE,),
    ),
    (
        "convolution",
        "lax.conv_general_dilated in NCHW, OIHW",
        lambda x: lax.conv_general_dilated(x, kernel(3, 3, 8, 8).transpose(3, 2, 0, 1), (1, 1), "SAME"),
        ((2, 8, 12, 16),),
    ),
    (
        "convolution",
        "jnp.convolve(x, w, mode='same')",
        lambda x: jnp.convolve(x, kernel(5, 1)[:, 0], mode="same"),
        ((32,),),
    ),
    # products
    ("product", "x @ w", lambda x: x @ kernel(32, 8), (ROWS,)),
    ("product", "nn.Dense(8) on tokens", linen(nn.Dense(8), *TOKENS), (TOKENS,)),
    ("product", "nn.DenseGeneral((4, 8), axis=-1)", linen(nn.DenseGeneral((4, 8)), *TOKENS), (TOKENS,)),
    (
        "product",
        "jnp.einsum('bqhd,bkhd->bhqk')",
        lambda q, k: jnp.einsum("bqhd,bkhd->bhqk", q, k),
        (HEADS, HEADS),
    ),
    (
        "product",
        "jnp.einsum('bnc,bnd->bdc')",
        lambda a, b: jnp.einsum("bnc,bnd->bdc", a, b),
        (TOKENS, TOKENS),
    ),
    (
        "product",
        "jnp.einsum('bhwc,cd->bhwd')",
        lambda x: jnp.einsum("bhwc,cd->bhwd", x, kernel(8, 4)),
        (IMAGE,),
    ),
    (
        "product",
        "lax.dot_general, batch axis last",
        lambda a, b: lax.dot_general(a, b, (((0,), (0,)), ((2,), (2,)))),
        ((6, 5, 3), (6, 7, 3)),
    ),
    ("product", "jnp.tensordot(a, b, 2)", lambda a: jnp.tensordot(a, kernel(24, 16, 5), 2), (TOKENS,)),
    # attention
    ("attention", "softmax(q @ k) @ v by einsum", attention, (HEADS, HEADS, HEADS)),
    (
        "attention",
        "jax.nn.dot_product_attention",
        lambda q, k, v: jax.nn.dot_product_attention(q, k, v),
        (HEADS, HEADS, HEADS),
    ),
    (
        "attention",
        "nn.MultiHeadDotProductAttention(4)",
        linen(nn.MultiHeadDotProductAttention(4), *TOKENS),
        (TOKENS,),
    ),
    ("attention", "windows: roll, reshape, transpose", windows, (IMAGE,)),
    # pools
    (
        "pool",
        "nn.max_pool(x, (3, 3), (2, 2), 'SAME')",
        lambda x: nn.max_pool(x, (3, 3), (2, 2), "SAME"),
        (IMAGE,),
    ),
    (
        "pool",
        "nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))",
        lambda x: nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1))),
        (IMAGE,),
    ),
    ("pool", "nn.avg_pool(x, (2, 2), (2, 2))", lambda x: nn.avg_pool(x, (2, 2), (2, 2)), (IMAGE,)),
    (
        "pool",
        "nn.avg_pool(x, (3, 3), strides=(1, 1), padding='SAME')",
        lambda x: nn.avg_pool(x, (3, 3), strides=(1, 1), padding="SAME"),
        (IMAGE,),
    ),
    (
        "pool",
        "the same with count_include_pad=False",
        lambda x: nn.avg_pool(x, (3, 3), strides=(1, 1), padding="SAME", count_include_pad=False),
        (IMAGE,),
    ),
    (
        "pool",
        "-nn.max_pool(-x, (2, 2), strides=(2, 2))",
        lambda x: -nn.max_pool(-x, (2, 2), strides=(2, 2)),
        (IMAGE,),
    ),
    (
        "pool",
        "lax.reduce_window(x, 0., lax.add, ...)",
        lambda x: lax.reduce_window(x, 0.0, lax.add, (1, 3, 3, 1), (1, 1, 1, 1), "SAME"),
        (IMAGE,),
    ),
    ("pool", "x.mean((1, 2))", lambda x: x.mean((1, 2)), (IMAGE,)),
    # reductions and order
    ("reduction", "x.sum(-1, keepdims=True)", lambda x: x.sum(-1, keepdims=True), (TOKENS,)),
    ("reduction", "jnp.var(x, (1, 2))", lambda x: jnp.var(x, (1, 2)), (IMAGE,)),
    ("reduction", "jnp.linalg.norm(x, axis=-1)", lambda x: jnp.linalg.norm(x, axis=-1), (TOKENS,)),
    ("reduction", "jnp.argmax(x, -1)", lambda x: jnp.argmax(x, -1), (ROWS,)),
    ("reduction", "jnp.argmin(x, 1)", lambda x: jnp.argmin(x, 1), (TOKENS,)),
    ("reduction", "jnp.cumsum(x, 1)", lambda x: jnp.cumsum(x, 1), (TOKENS,)),
    ("reduction", "jax.nn.logsumexp(x, -1)", lambda x: jax.nn.logsumexp(x, -1), (ROWS,)),
    ("reduction", "lax.top_k(x, 5)", lambda x: lax.top_k(x, 5), (ROWS,)),
    ("reduction", "jnp.sort(x, -1)", lambda x: jnp.sort(x, -1), (ROWS,)),
    ("reduction", "jnp.argsort(x, -1)", lambda x: jnp.argsort(x, -1), (ROWS,)),
    ("reduction", "(x > 0).any(-1)", lambda x: (x > 0).any(-1), (ROWS,)),
    # shapes and indices
    (
        "index",
        "jnp.pad(x, ((0, 0), (1, 2), (0, 1), (0, 0)))",
        lambda x: jnp.pad(x, ((0, 0), (1, 2), (0, 1), (0, 0))),
        (IMAGE,),
    ),
    (
        "index",
        "jnp.pad(x, ..., mode='reflect')",
        lambda x: jnp.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect"),
        (IMAGE,),
    ),
    (
        "index",
        "lax.pad with a hole between elements",
        lambda x: lax.pad(x, 0.0, ((0, 0, 0), (1, 1, 1), (0, 0, 0))),
        (TOKENS,),
    ),
    ("index", "x[:, 1:-1:2, ::-1]", lambda x: x[:, 1:-1:2, ::-1], (IMAGE,)),
    (
        "index",
        "lax.dynamic_slice, constant start",
        lambda x: lax.dynamic_slice(x, (0, 3, 2), (2, 8, 4)),
        (TOKENS,),
    ),
    (
        "index",
        "lax.dynamic_slice, start of the data",
        lambda x, at: lax.dynamic_slice(x, (0, at, 0), (2, 8, 16)),
        (TOKENS, np.array(5, np.int32)),
    ),
    ("index", "table[index], a look-up", lambda index: jnp.asarray(kernel(10, 4))[index], (INDEX,)),
    ("index", "jnp.take(x, index, axis=1)", lambda x: jnp.take(x, INDEX, axis=1), (TOKENS,)),
    (
        "index",
        "jnp.take_along_axis",
        lambda x: jnp.take_along_axis(x, jnp.argsort(x, -1)[:, :3], -1),
        (ROWS,),
    ),
    ("index", "x[rows, columns]", lambda x: x[np.arange(4), INDEX], (ROWS,)),
    ("index", "x.at[:, 0].set(0)", lambda x: x.at[:, 0].set(0.0), (ROWS,)),
    ("index", "x.at[index].add(1)", lambda x: x.at[np.array([0, 2])].add(1.0), (ROWS,)),
    ("index", "jax.nn.one_hot(i, 10)", lambda index: jax.nn.one_hot(index, 10), (INDEX,)),
    ("index", "jnp.roll(x, (1, -2), (1, 2))", lambda x: jnp.roll(x, (1, -2), (1, 2)), (IMAGE,)),
    (
        "index",
        "jnp.concatenate([cls, x], 1)",
        lambda x: jnp.concatenate([jnp.broadcast_to(kernel(1, 1, 16), (2, 1, 16)), x], 1),
        (TOKENS,),
    ),
    ("index", "jnp.split(x, 4, -1)", lambda x: jnp.split(x, 4, -1), (TOKENS,)),
    ("index", "jnp.stack, jnp.moveaxis", lambda x: jnp.moveaxis(jnp.stack([x, -x], -1), 1, 2), (TOKENS,)),
    ("index", "jnp.repeat(x, 2, 1)", lambda x: jnp.repeat(x, 2, 1), (TOKENS,)),
    ("index", "jnp.tril(x)", lambda x: jnp.tril(x), ((2, 8, 8),)),
    (
        "index",
        "jnp.meshgrid of jnp.linspace, added",
        lambda x: (
            x + jnp.stack(jnp.meshgrid(jnp.linspace(0, 1, 16), jnp.linspace(0, 1, 12)), -1).sum(-1)[..., None]
        ),
        (IMAGE,),
    ),
    # resize
    (
        "resize",
        "jax.image.resize, nearest, x2",
        lambda x: jax.image.resize(x, (2, 24, 32, 8), "nearest"),
        (IMAGE,),
    ),
    (
        "resize",
        "jax.image.resize, linear, x2",
        lambda x: jax.image.resize(x, (2, 24, 32, 8), "linear"),
        (IMAGE,),
    ),
    (
        "resize",
        "jax.image.resize, linear, to 7 x 9",
        lambda x: jax.image.resize(x, (2, 7, 9, 8), "linear"),
        (IMAGE,),
    ),
    (
        "resize",
        "jax.image.resize, cubic, x2",
        lambda x: jax.image.resize(x, (2, 24, 32, 8), "cubic"),
        (IMAGE,),
    ),
    (
        "resize",
        "pixel shuffle: reshape, transpose",
        lambda x: x.reshape(2, 12, 16, 2, 2, 2).transpose(0, 1, 3, 2, 4, 5).reshape(2, 24, 32, 2),
        (IMAGE,),
    ),
    # activations and elementwise
    *[
        ("activation", f"jax.nn.{name}", getattr(jax.nn, name), (TOKENS,))
        for name in (
            "relu",
            "relu6",
            "leaky_relu",
            "elu",
            "selu",
            "silu",
            "mish",
            "hard_swish",
            "hard_sigmoid",
            "sigmoid",
            "log_sigmoid",
            "softplus",
            "softmax",
            "log_softmax",
            "standardize",
            "squareplus",
            "glu",
        )
    ],
    ("activation", "jax.nn.gelu(x)", jax.nn.gelu, (TOKENS,)),
    (
        "activation",
        "jax.nn.gelu(x, approximate=False)",
        lambda x: jax.nn.gelu(x, approximate=False),
        (TOKENS,),
    ),
    ("activation", "jax.scipy.special.erf", jax.scipy.special.erf, (TOKENS,)),
    ("activation", "jax.scipy.special.erfc", jax.scipy.special.erfc, (TOKENS,)),
    ("activation", "lax.erf_inv(jnp.tanh(x))", lambda x: lax.erf_inv(jnp.tanh(x)), (TOKENS,)),
    ("activation", "jnp.where(x > 0, x, 0.1 * x)", lambda x: jnp.where(x > 0, x, 0.1 * x), (TOKENS,)),
    ("activation", "jnp.clip(x, -1, 1)", lambda x: jnp.clip(x, -1, 1), (TOKENS,)),
    ("activation", "lax.rsqrt(x * x + 1e-6)", lambda x: lax.rsqrt(x * x + 1e-6), (TOKENS,)),
    (
        "activation",
        "jnp.floor, jnp.round, jnp.sign",
        lambda x: jnp.floor(x) + jnp.round(x) * jnp.sign(x),
        (TOKENS,),
    ),
    (
        "activation",
        "x ** 3, jnp.expm1, jnp.log1p",
        lambda x: x**3 + jnp.expm1(x) + jnp.log1p(x * x),
        (TOKENS,),
    ),
    # norms
    ("norm", "nn.BatchNorm(use_running_average=True)", linen(nn.BatchNorm(True), *IMAGE), (IMAGE,)),
    ("norm", "nn.LayerNorm()", linen(nn.LayerNorm(), *TOKENS), (TOKENS,)),
    ("norm", "nn.LayerNorm() on an image", linen(nn.LayerNorm(), *IMAGE), (IMAGE,)),
    ("norm", "nn.GroupNorm(4)", linen(nn.GroupNorm(4), *IMAGE), (IMAGE,)),
    ("norm", "nn.RMSNorm()", linen(nn.RMSNorm(), *TOKENS), (TOKENS,)),
    ("norm", "nn.InstanceNorm()", linen(nn.InstanceNorm(), *IMAGE), (IMAGE,)),
    (
        "norm",
        "x / jnp.linalg.norm(x, keepdims=True)",
        lambda x: x / jnp.linalg.norm(x, axis=-1, keepdims=True),
        (TOKENS,),
    ),
    # control
    ("control", "jax.vmap of a function", jax.vmap(lambda row: row @ kernel(16, 4)), (TOKENS,)),
    (
        "control",
        "lax.fori_loop, 4 turns",
        lambda x: lax.fori_loop(0, 4, lambda i, y: y * 0.5 + x, x),
        (ROWS,),
    ),
    (
        "control",
        "lax.scan over layers",
        lambda x: lax.scan(lambda y, w: (jnp.tanh(y @ w), None), x, kernel(3, 32, 32))[0],
        (ROWS,),
    ),
    (
        "control",
        "lax.cond on the data",
        lambda x: lax.cond(x.sum() > 0, lambda y: y + 1, lambda y: y * 2, x),
        (ROWS,),
    ),
    (
        "control",
        "jax.checkpoint, jax.jit, custom_jvp (relu6)",
        jax.checkpoint(jax.jit(jax.nn.relu6)),
        (ROWS,),
    ),
]

FUNCTIONS = tuple(Function(*entry) for entry in _ALL)
