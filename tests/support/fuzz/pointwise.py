"""Operations on values of any rank: formulas, reductions, norms, and what moves data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax

from fuzz.network import Builder

ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "gelu_by_erf": lambda x: 0.5 * x * (1 + lax.erf(x / np.sqrt(2))),
    "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
    "silu": jax.nn.silu,
    "sigmoid": jax.nn.sigmoid,
    "sigmoid_by_exp": lambda x: 1 / (1 + jnp.exp(-x)),
    "hard_swish": jax.nn.hard_swish,
    "hard_sigmoid": jax.nn.hard_sigmoid,
    "hard_swish_by_clip": lambda x: x * jnp.clip(x + 3, 0, 6) / 6,
    "leaky_relu": jax.nn.leaky_relu,
    "elu": jax.nn.elu,
    "selu": jax.nn.selu,
    "celu": jax.nn.celu,
    "softplus": jax.nn.softplus,
    "mish": jax.nn.mish,
    "log_sigmoid": jax.nn.log_sigmoid,
    "soft_sign": jax.nn.soft_sign,
    "hard_tanh": jax.nn.hard_tanh,
    "squareplus": jax.nn.squareplus,
    "tanh": jnp.tanh,
    "square": jnp.square,
    "abs": jnp.abs,
    "negative": jnp.negative,
    "star_relu": lambda x: 0.8944 * jnp.square(jax.nn.relu(x)) - 0.4472,
    "square_root": lambda x: jnp.sqrt(jnp.abs(x) + 0.1),
    "rsqrt": lambda x: lax.rsqrt(jnp.square(x) + 0.5),
    "exp": lambda x: jnp.exp(jnp.minimum(x, 2.0)),
    "expm1": lambda x: jnp.expm1(jnp.clip(x, -3, 2)),
    "log1p": lambda x: jnp.log1p(jnp.abs(x)),
    "sin": jnp.sin,
    "cos": jnp.cos,
    "arctan": jnp.arctan,
    "cube": lambda x: jnp.clip(x, -2, 2) ** 3,
    "power": lambda x: (jnp.abs(x) + 0.5) ** 0.75,
    "erfc": lambda x: jax.scipy.special.erfc(x),
    "where": lambda x: jnp.where(x > 0.25, x, 0.25 * x + 0.1875),
    "where_zero": lambda x: jnp.where(x > 0, x, 0),
    "clip": lambda x: jnp.clip(x, -1.5, 1.0),
    "half": lambda x: x / 2 + 0.5,
    "less_one": lambda x: 1 - x,
    "divide_into": lambda x: 1 / (1 + jnp.abs(x)),
    "nan_to_num": jnp.nan_to_num,
    "double_negative": lambda x: jnp.negative(-x) * 1.0 + 0.0,
    "logaddexp": lambda x: jnp.logaddexp(x, 0.5),
    "round_trip": lambda x: x.astype(jnp.float32).astype(x.dtype),
    "stop_gradient": lax.stop_gradient,
    "barrier": lax.optimization_barrier,
}
REDUCTIONS: dict[str, Callable[..., Any]] = {
    "mean": jnp.mean,
    "sum": lambda x, axis, keepdims: 0.3 * jnp.sum(x, axis, keepdims=keepdims),
    "max": jnp.max,
    "min": jnp.min,
    "var": jnp.var,
    "std": lambda x, axis, keepdims: jnp.sqrt(jnp.var(x, axis, keepdims=keepdims) + 0.1),
    "logsumexp": jax.nn.logsumexp,
    "norm": lambda x, axis, keepdims: jnp.sqrt(jnp.sum(x * x, axis, keepdims=keepdims) + 0.1),
    "mean_by_sum": lambda x, axis, keepdims: (
        jnp.sum(x, axis, keepdims=keepdims) / np.prod([x.shape[a] for a in axis])
    ),
}


def activation(b: Builder, x: int) -> int | None:
    name = b.one_of(list(ACTIVATIONS))
    return b.add(name, lambda weights, v: ACTIVATIONS[name](v), x)


def affine(b: Builder, x: int) -> int | None:
    """A scale and a shift that vary along some of the dimensions, or neither."""
    shape = b.shapes[x]
    kept = [1] + [size if b.flag() else 1 for size in shape[1:]]
    scale, shift = b.weight(kept, 0.4, 1.0), b.weight(kept, 0.5)
    form = b.one_of(["scale then shift", "shift then scale", "divide", "subtract from"])
    forms = {
        "scale then shift": lambda w, v: v * scale(w) + shift(w),
        "shift then scale": lambda w, v: (v - shift(w)) * scale(w),
        "divide": lambda w, v: v / (jnp.abs(scale(w)) + 0.3),
        "subtract from": lambda w, v: shift(w) - v,
    }
    return b.add(f"{form}{tuple(kept)}", forms[form], x)


def dense(b: Builder, x: int) -> int | None:
    shape = b.shapes[x]
    if len(shape) < 2:
        return None
    width = b.integer(1, 9)
    kernel, bias = b.kernel(shape[-1], width), b.weight((width,), 0.5)
    form = b.one_of(["@", "einsum", "dense", "kernel first", "no bias", "dot_general", "float32", "any axis"])
    if form == "any axis":
        axis = b.one_of(range(1, len(shape)))
        kernel = b.kernel(shape[axis], width)
        return b.add(
            f"tensordot over {axis} to {width}",
            lambda w, v: jnp.moveaxis(jnp.tensordot(v, kernel(w), ((axis,), (0,))), -1, axis),
            x,
        )
    forms = {
        "@": lambda w, v: v @ kernel(w) + bias(w),
        "einsum": lambda w, v: jnp.einsum("...c,cd->...d", v, kernel(w)) + bias(w),
        "dense": lambda w, v: nn.Dense(width).apply({"params": {"kernel": kernel(w), "bias": bias(w)}}, v),
        "kernel first": lambda w, v: jnp.einsum("dc,...c->...d", kernel(w).T, v) + bias(w),
        "no bias": lambda w, v: v @ kernel(w),
        "float32": lambda w, v: jnp.matmul(v, kernel(w), preferred_element_type=jnp.float32),
        "dot_general": lambda w, v: lax.dot_general(v, kernel(w), (((v.ndim - 1,), (0,)), ((), ()))),
    }
    return b.add(f"linear to {width} by {form}", forms[form], x)


def layer_norm(b: Builder, x: int) -> int | None:
    shape = b.shapes[x]
    if shape[-1] < 2:
        return None
    form = b.one_of(["flax", "flax plain", "rms", "written", "two-pass", "axes"])
    scale, bias = b.weight(shape[-1:], 0.3, 1.0), b.weight(shape[-1:], 0.3)
    epsilon = b.one_of([1e-6, 1e-5, 1e-3])
    free = [axis for axis in range(1, len(shape)) if shape[axis] > 1]
    axes = tuple(sorted(b.order(free)[: b.integer(1, len(free))]))

    def written(w: Any, v: Any) -> Any:
        mean = v.mean(-1, keepdims=True)
        return (v - mean) * lax.rsqrt(v.var(-1, keepdims=True) + epsilon) * scale(w) + bias(w)

    def two_pass(w: Any, v: Any) -> Any:
        centred = v - jnp.mean(v, -1, keepdims=True)
        return scale(w) * centred / jnp.sqrt(jnp.mean(centred**2, -1, keepdims=True) + epsilon) + bias(w)

    def over(w: Any, v: Any) -> Any:
        return (v - v.mean(axes, keepdims=True)) / jnp.sqrt(v.var(axes, keepdims=True) + epsilon)

    fast = b.flag()
    forms = {
        "flax": lambda w, v: nn.LayerNorm(epsilon, use_fast_variance=fast).apply(
            {"params": {"scale": scale(w), "bias": bias(w)}}, v
        ),
        "flax plain": lambda w, v: nn.LayerNorm(epsilon, use_scale=False, use_bias=False).apply({}, v),
        "rms": lambda w, v: nn.RMSNorm(epsilon).apply({"params": {"scale": scale(w)}}, v),
        "written": written,
        "two-pass": two_pass,
        "axes": over,
    }
    said = f" over {axes}" if form == "axes" else ""
    return b.add(f"layer norm {form}{said} {epsilon}{' fast' if fast else ''}", forms[form], x)


def softmax(b: Builder, x: int) -> int | None:
    axis = b.one_of(b.axes(x)[-2:] or [len(b.shapes[x]) - 1])
    if axis == 0 and b.network.dynamic:
        return None
    form = b.one_of(["softmax", "log_softmax", "written", "no shift"])
    forms = {
        "softmax": lambda w, v: jax.nn.softmax(v, axis),
        "log_softmax": lambda w, v: jax.nn.log_softmax(v, axis),
        "written": lambda w, v: (e := jnp.exp(v - v.max(axis, keepdims=True))) / e.sum(axis, keepdims=True),
        "no shift": lambda w, v: (e := jnp.exp(jnp.tanh(v))) / e.sum(axis, keepdims=True),
    }
    return b.add(f"{form} over {axis}", forms[form], x)


def reduce(b: Builder, x: int) -> int | None:
    shape, name = b.shapes[x], b.one_of(list(REDUCTIONS))
    axes = b.axes(x)
    if not b.network.dynamic and b.flag():
        axes = axes[1:]
    if not axes:
        return None
    chosen = tuple(sorted(b.order(axes)[: b.integer(1, min(3, len(axes)))]))
    keep = b.flag() or len(shape) - len(chosen) < 2
    return b.add(
        f"{name} over {chosen}{' kept' if keep else ''}",
        lambda w, v: REDUCTIONS[name](v, axis=chosen, keepdims=keep),
        x,
    )


def excite(b: Builder, x: int) -> int | None:
    """A value times something reduced from it, brought back by broadcasting."""
    axes = b.axes(x)
    if not axes:
        return None
    chosen = tuple(sorted(b.order(axes)[: b.integer(1, 2)]))
    name = b.one_of(["mean", "max", "std"])
    form = b.one_of(["times", "plus", "centred", "normalised"])

    def fn(w: Any, v: Any) -> Any:
        made = REDUCTIONS[name](v, axis=chosen, keepdims=True)
        if form == "times":
            return v * jax.nn.sigmoid(made)
        if form == "plus":
            return jnp.concatenate([v, jnp.broadcast_to(made, v.shape)], -1)
        return v - made if form == "centred" else v / (jnp.abs(made) + 1)

    return b.add(f"{form} {name} over {chosen}", fn, x)
