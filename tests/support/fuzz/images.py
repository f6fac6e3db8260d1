"""Operations on feature maps (b, h, w, c)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax

from fuzz.network import Builder

ORDER = ("NHWC", "HWIO", "NHWC")


def convolution(b: Builder, x: int) -> int | None:
    _, height, width, channels = b.shapes[x]
    groups = b.divisor(channels)
    features = groups * b.integer(1, 4)
    window = (b.integer(1, 4), b.integer(1, 4)) if b.flag() else (3, 3)
    dilation = (b.integer(1, 2), b.integer(1, 3)) if b.flag() else (1, 1)
    reach = [(k - 1) * d + 1 for k, d in zip(window, dilation, strict=True)]
    form = b.one_of(["SAME", "VALID", "explicit", "SAME_LOWER"])
    padding: Any = form
    if form == "explicit":
        padding = [(b.integer(0, 3), b.integer(0, 3)) for _ in window]
    if form == "VALID" and (reach[0] > height or reach[1] > width):
        padding = "SAME"
    if form == "explicit" and any(
        low + high + n < r for (low, high), n, r in zip(padding, (height, width), reach, strict=True)
    ):
        return None
    strides = (b.integer(1, 3), b.integer(1, 3)) if b.flag() else (1, 1)
    kernel = b.kernel(*window, channels // groups, features)
    bias = b.weight((features,), 0.3)
    biased = b.flag()

    def fn(w: Any, v: Any) -> Any:
        made = lax.conv_general_dilated(
            v,
            kernel(w),
            strides,
            padding,
            rhs_dilation=dilation,
            feature_group_count=groups,
            dimension_numbers=ORDER,
        )
        return made + bias(w) if biased else made

    said = f"conv {window} to {features} groups {groups} strides {strides} dilation {dilation} {padding}"
    return b.add(said, fn, x)


def transposed_convolution(b: Builder, x: int) -> int | None:
    channels, features = b.shapes[x][-1], b.integer(1, 5)
    window, strides = (b.integer(1, 4), b.integer(1, 4)), (b.integer(1, 3), b.integer(1, 3))
    padding = b.one_of(["SAME", "VALID"])
    kernel = b.kernel(*window, channels, features)
    if b.flag():
        kernel_t = b.kernel(*window, features, channels)
        return b.add(
            f"ConvTranspose {window} strides {strides} {padding}, transposed kernel",
            lambda w, v: lax.conv_transpose(
                v, kernel_t(w), strides, padding, dimension_numbers=ORDER, transpose_kernel=True
            ),
            x,
        )
    return b.add(
        f"ConvTranspose {window} strides {strides} {padding}",
        lambda w, v: lax.conv_transpose(v, kernel(w), strides, padding, dimension_numbers=ORDER),
        x,
    )


def pool(b: Builder, x: int) -> int | None:
    _, height, width, _ = b.shapes[x]
    window = (b.integer(1, 3), b.integer(1, 3)) if b.flag() else (2, 2)
    strides = (b.integer(1, 3), b.integer(1, 3)) if b.flag() else window
    padding: Any = b.one_of(["SAME", "VALID", "explicit"])
    if padding == "VALID" and (window[0] > height or window[1] > width):
        padding = "SAME"
    if padding == "explicit":
        padding = [(b.integer(0, k - 1), b.integer(0, k - 1)) for k in window]
        if any(
            low + high + n < k for (low, high), n, k in zip(padding, (height, width), window, strict=True)
        ):
            return None
    form = b.one_of(["max", "avg", "avg of real", "min", "sum"])
    forms = {
        "max": lambda w, v: nn.max_pool(v, window, strides, padding),
        "avg": lambda w, v: nn.avg_pool(v, window, strides, padding),
        "avg of real": lambda w, v: nn.avg_pool(v, window, strides, padding, count_include_pad=False),
        "min": lambda w, v: nn.pool(v, jnp.inf, lax.min, window, strides, padding),
        "sum": lambda w, v: 0.5 * nn.pool(v, 0.0, lax.add, window, strides, padding),
    }
    return b.add(f"{form} pool {window} strides {strides} {padding}", forms[form], x)


def resize(b: Builder, x: int) -> int | None:
    _, height, width, channels = b.shapes[x]
    size = (b.integer(1, 2 * height), b.integer(1, 2 * width))
    if b.flag():
        size = (2 * height, 2 * width)
    method = b.one_of(["nearest", "linear", "cubic", "bilinear", "lanczos3"])
    antialias = b.flag()
    return b.add(
        f"resize to {size} {method}{' antialias' if antialias else ''}",
        lambda w, v: jax.image.resize(v, (v.shape[0], *size, channels), method, antialias),
        x,
    )


def normalise(b: Builder, x: int) -> int | None:
    """Batch norm as it is at inference, group norm, instance norm."""
    shape = b.shapes[x]
    channels = shape[-1]
    form = b.one_of(["batch", "batch", "batch written", "group", "instance", "global response"])
    scale, bias = b.weight((channels,), 0.3, 1.0), b.weight((channels,), 0.3)
    mean, log_var = b.weight((channels,), 0.5), b.weight((channels,), 0.4)
    groups = b.divisor(channels)

    def batch(w: Any, v: Any) -> Any:
        held = {"mean": mean(w), "var": jnp.exp(log_var(w))}
        given = {"params": {"scale": scale(w), "bias": bias(w)}, "batch_stats": held}
        return nn.BatchNorm(use_running_average=True).apply(given, v)

    def written(w: Any, v: Any) -> Any:
        return (v - mean(w)) / jnp.sqrt(jnp.exp(log_var(w)) + 1e-5) * scale(w) + bias(w)

    def response(w: Any, v: Any) -> Any:
        size = jnp.sqrt(jnp.sum(v * v, (1, 2), keepdims=True) + 1e-3)
        return scale(w) * v * (size / (jnp.mean(size, -1, keepdims=True) + 1e-6)) + bias(w) + v

    if shape[1] * shape[2] * (channels // groups) < 2 or shape[1] * shape[2] < 2:
        return None
    forms = {
        "batch": batch,
        "batch written": written,
        "group": lambda w, v: nn.GroupNorm(groups).apply({"params": {"scale": scale(w), "bias": bias(w)}}, v),
        "instance": lambda w, v: nn.InstanceNorm().apply({"params": {"scale": scale(w), "bias": bias(w)}}, v),
        "global response": response,
    }
    return b.add(f"{form} norm" + (f" {groups} groups" if form == "group" else ""), forms[form], x)


def squeeze(b: Builder, x: int) -> int | None:
    channels = b.shapes[x][-1]
    down, up = b.kernel(channels, 3), b.kernel(3, channels)
    gate = b.one_of([jax.nn.sigmoid, jax.nn.hard_sigmoid, jnp.tanh])

    def fn(w: Any, v: Any) -> Any:
        mean = v.mean((1, 2), keepdims=True)
        return v * gate(jax.nn.relu(mean @ down(w)) @ up(w))

    return b.add(f"squeeze and excitation {gate.__name__}", fn, x)


def shuffle(b: Builder, x: int) -> int | None:
    """Space to depth, depth to space, or a shuffle of channels."""
    _, height, width, channels = b.shapes[x]
    p, q = b.divisor(height), b.divisor(width)
    form = b.one_of(["to depth", "to space", "channels", "patches"])
    if form == "to depth":
        return b.add(
            f"space to depth {p, q}",
            lambda w, v: (
                v.reshape(-1, height // p, p, width // q, q, channels)
                .transpose(0, 1, 3, 2, 4, 5)
                .reshape(-1, height // p, width // q, p * q * channels)
            ),
            x,
        )
    if form == "to space":
        p = b.divisor(channels)
        q = b.divisor(channels // p)
        rest = channels // (p * q)
        return b.add(
            f"depth to space {p, q}",
            lambda w, v: (
                v.reshape(-1, height, width, p, q, rest)
                .transpose(0, 1, 3, 2, 4, 5)
                .reshape(-1, height * p, width * q, rest)
            ),
            x,
        )
    if form == "channels":
        groups = b.divisor(channels)
        return b.add(
            f"shuffle {groups} groups",
            lambda w, v: (
                v.reshape(*v.shape[:-1], groups, channels // groups).swapaxes(-1, -2).reshape(v.shape)
            ),
            x,
        )
    return b.add(
        f"patches {p, q}",
        lambda w, v: lax.conv_general_dilated_patches(v, (p, q), (p, q), "VALID", dimension_numbers=ORDER),
        x,
    )


def positions(b: Builder, x: int) -> int | None:
    """A table or a grid of coordinates over the map."""
    _, height, width, channels = b.shapes[x]
    table = b.weight((1, height, width, channels), 0.5)
    form = b.one_of(["table", "coordinates", "sine", "multiply"])

    def grid(w: Any, v: Any) -> Any:
        rows, columns = jnp.linspace(-1, 1, height), jnp.linspace(-1, 1, width)
        both = jnp.stack(jnp.meshgrid(rows, columns, indexing="ij"), -1).astype(v.dtype)
        return jnp.concatenate([v, jnp.broadcast_to(both, (v.shape[0], *both.shape))], -1)

    def sine(w: Any, v: Any) -> Any:
        angles = jnp.arange(width)[:, None] * (0.1 ** jnp.arange(channels))
        return v + jnp.sin(angles).astype(v.dtype)

    forms = {
        "table": lambda w, v: v + table(w),
        "multiply": lambda w, v: v * table(w),
        "coordinates": grid,
        "sine": sine,
    }
    return b.add(f"positions by {form}", forms[form], x)


def tokens(b: Builder, x: int) -> int | None:
    _, height, width, channels = b.shapes[x]
    if b.flag():
        return b.add("tokens", lambda w, v: v.reshape(v.shape[0], height * width, channels), x)
    return b.add(
        "tokens by columns",
        lambda w, v: v.transpose(0, 2, 1, 3).reshape(v.shape[0], height * width, channels),
        x,
    )


def windows(b: Builder, x: int) -> int | None:
    """Partition, a map of the tokens in each window, and back."""
    _, height, width, channels = b.shapes[x]
    p, q = b.divisor(height), b.divisor(width)
    rows, columns = height // p, width // q
    shift = b.integer(0, max(0, min(p, q) - 1))
    mix, kernel = b.kernel(p * q, p * q), b.kernel(channels, 3 * channels)
    form = b.one_of(["mix tokens", "attend", "mean", "grid"])

    def fn(w: Any, v: Any) -> Any:
        v = jnp.roll(v, (-shift, -shift), (1, 2)) if shift else v
        parts = v.reshape(-1, rows, p, columns, q, channels)
        order = (0, 2, 4, 1, 3, 5) if form == "grid" else (0, 1, 3, 2, 4, 5)
        inner = rows * columns if form == "grid" else p * q
        t = parts.transpose(order).reshape(-1, inner, channels)
        if form == "mix tokens":
            t = t + jnp.einsum("bnc,nm->bmc", t, mix(w))
        elif form == "mean":
            t = t - t.mean(1, keepdims=True)
        else:
            query, key, value = jnp.split(t @ kernel(w), 3, -1)
            scores = jnp.einsum("bqc,bkc->bqk", query, key) / np.sqrt(channels)
            t = jax.nn.softmax(scores) @ value
        outer = (-1, p, q, rows, columns, channels) if form == "grid" else (-1, rows, columns, p, q, channels)
        back = (0, 3, 1, 4, 2, 5) if form == "grid" else (0, 1, 3, 2, 4, 5)
        v = t.reshape(outer).transpose(back).reshape(-1, height, width, channels)
        return jnp.roll(v, (shift, shift), (1, 2)) if shift else v

    return b.add(f"windows {p, q} shift {shift} {form}", fn, x)
