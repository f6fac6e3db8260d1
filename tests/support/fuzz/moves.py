"""Operations that move data, on values of any rank, and that combine two values."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from fuzz.network import Builder


def transpose(b: Builder, x: int) -> int | None:
    rank, first = len(b.shapes[x]), b.axes(x)[0] if b.axes(x) else 0
    if rank - first < 2:
        return None
    order = tuple([*range(first), *b.order(range(first, rank))])
    return b.add(f"transpose{order}", lambda w, v: v.transpose(order), x)


def reshape(b: Builder, x: int) -> int | None:
    """Merge neighbouring dimensions or split one; the batch stays."""
    shape = list(b.shapes[x])
    form = b.one_of(["merge", "split", "merge all", "regroup"])
    if form == "merge" and len(shape) > 2:
        at = b.integer(1, len(shape) - 2)
        shape[at : at + 2] = [shape[at] * shape[at + 1]]
    elif form == "split" and len(shape) > 1:
        at = b.integer(1, len(shape) - 1)
        part = b.divisor(shape[at])
        shape[at : at + 1] = [part, shape[at] // part]
    elif form == "regroup" and len(shape) > 2:
        at = b.integer(1, len(shape) - 2)
        part = b.divisor(shape[at] * shape[at + 1])
        shape[at : at + 2] = [part, shape[at] * shape[at + 1] // part]
    else:
        shape = [shape[0], math.prod(shape[1:])]
    rest = tuple(shape[1:])
    return b.add(f"reshape to {rest}", lambda w, v: v.reshape(v.shape[0], *rest), x)


def slice_(b: Builder, x: int) -> int | None:
    axes = b.axes(x)
    if not axes:
        return None
    axis = b.one_of(axes)
    size = b.shapes[x][axis]
    start = b.integer(0, size - 1)
    stop = b.integer(start + 1, size)
    step = b.integer(1, 3)
    form = b.one_of(["slice", "reverse", "index", "dynamic", "take", "last"])
    index = np.array([b.integer(0, size - 1) for _ in range(b.integer(1, 5))])
    rank = len(b.shapes[x])
    forms = {
        "slice": lambda w, v: lax.slice_in_dim(v, start, stop, step, axis),
        "reverse": lambda w, v: jnp.flip(v, axis),
        "index": lambda w, v: lax.index_in_dim(v, start, axis, keepdims=rank <= 2),
        "dynamic": lambda w, v: lax.dynamic_slice_in_dim(v, start, stop - start, axis),
        "take": lambda w, v: jnp.take(v, index, axis),
        "last": lambda w, v: jnp.take(v, -1, axis) if rank > 2 else v,
    }
    said = {"slice": f"[{start}:{stop}:{step}]", "index": f"[{start}]", "take": f"{index.tolist()}"}
    return b.add(f"{form}{said.get(form, '')} of axis {axis}", forms[form], x)


def pad(b: Builder, x: int) -> int | None:
    axes = b.axes(x)
    if not axes:
        return None
    chosen = b.order(axes)[: b.integer(1, 2)]
    widths = [(0, 0)] * len(b.shapes[x])
    for axis in chosen:
        widths[axis] = (b.integer(0, 2), b.integer(0, 3))
    form = b.one_of(["constant", "one", "edge", "reflect", "wrap", "between", "negative"])
    value = {"one": 1.0}.get(form, 0.0)
    if form in ("edge", "reflect", "wrap"):
        widths = [
            (min(low, size - 1), min(high, size - 1))
            for (low, high), size in zip(widths, b.shapes[x], strict=True)
        ]
        return b.add(f"pad {form} {widths}", lambda w, v: jnp.pad(v, widths, form), x)
    if form in ("between", "negative"):
        inner = 1 if form == "between" else 0
        sign = -1 if form == "negative" else 1
        if form == "negative" and any(low + high >= b.shapes[x][i] for i, (low, high) in enumerate(widths)):
            return None
        config = [
            (sign * low, sign * high, inner if i in chosen else 0) for i, (low, high) in enumerate(widths)
        ]
        return b.add(f"lax.pad {config}", lambda w, v: lax.pad(v, jnp.zeros((), v.dtype), config), x)
    return b.add(f"pad {value} {widths}", lambda w, v: jnp.pad(v, widths, constant_values=value), x)


def roll(b: Builder, x: int) -> int | None:
    axes = b.axes(x)
    if not axes:
        return None
    chosen = tuple(b.order(axes)[: b.integer(1, 2)])
    shifts = tuple(b.integer(-3, 4) for _ in chosen)
    return b.add(f"roll {shifts} of {chosen}", lambda w, v: jnp.roll(v, shifts, chosen), x)


def repeat(b: Builder, x: int) -> int | None:
    axes = b.axes(x)
    if not axes:
        return None
    axis, times = b.one_of(axes), b.integer(2, 3)
    form = b.one_of(["repeat", "tile", "stack", "concatenate", "broadcast"])
    tiles = [times if i == axis else 1 for i in range(len(b.shapes[x]))]
    forms = {
        "repeat": lambda w, v: jnp.repeat(v, times, axis),
        "tile": lambda w, v: jnp.tile(v, tiles),
        "stack": lambda w, v: jnp.stack([v, -v], axis),
        "concatenate": lambda w, v: jnp.concatenate([v, v * 2, jnp.flip(v, axis)], axis),
        "broadcast": lambda w, v: jnp.broadcast_to(
            jnp.expand_dims(v, axis), (*v.shape[:axis], times, *v.shape[axis:])
        ),
    }
    return b.add(f"{form} {times} of {axis}", forms[form], x)


def split(b: Builder, x: int) -> int | None:
    """Two parts that are put together again in another way."""
    axes = [axis for axis in b.axes(x) if b.shapes[x][axis] % 2 == 0]
    if not axes:
        return None
    axis = b.one_of(axes)
    form = b.one_of(["glu", "swap", "sum", "odd and even", "first only", "product"])

    def fn(w: Any, v: Any) -> Any:
        if form == "odd and even":
            index = [slice(None)] * v.ndim
            index[axis] = slice(0, None, 2)
            even = v[tuple(index)]
            index[axis] = slice(1, None, 2)
            return jnp.concatenate([even, v[tuple(index)]], axis)
        first, second = jnp.split(v, 2, axis)
        if form == "glu":
            return first * jax.nn.sigmoid(second)
        if form == "swap":
            return jnp.concatenate([second, jnp.tanh(first)], axis)
        if form == "product":
            return first * second
        return first + second if form == "sum" else first

    return b.add(f"split {form} of {axis}", fn, x)


def scatter(b: Builder, x: int) -> int | None:
    axes = b.axes(x)
    if not axes:
        return None
    axis = b.one_of(axes)
    size = b.shapes[x][axis]
    places = sorted({b.integer(0, size - 1) for _ in range(b.integer(1, 3))})
    form = b.one_of(["set", "add", "multiply", "max"])
    index = (*[slice(None)] * axis, np.array(places))
    return b.add(f"at[{places}].{form} of {axis}", lambda w, v: getattr(v.at[index], form)(0.5), x)


def along(b: Builder, x: int) -> int | None:
    """What looks along one dimension: running sums, sorting, top-k, one's own indices."""
    axes = b.axes(x)
    if not axes:
        return None
    axis = b.one_of(axes)
    size = b.shapes[x][axis]
    form = b.one_of(["cumsum", "sort", "top_k", "take_along_axis", "diff", "one_hot", "argmax row"])
    k = b.integer(1, size)
    if form == "diff" and size < 2:
        return None
    table = b.weight((size, 3), 1.0)

    def fn(w: Any, v: Any) -> Any:
        if form == "cumsum":
            return 0.5 * jnp.cumsum(v, axis)
        if form == "sort":
            return jnp.sort(v, axis)
        if form == "top_k":
            return jnp.moveaxis(lax.top_k(jnp.moveaxis(v, axis, -1), k)[0], -1, axis)
        if form == "take_along_axis":
            return jnp.take_along_axis(v, jnp.argmax(v, axis, keepdims=True), axis)
        if form == "diff":
            return jnp.diff(v, axis=axis)
        best = jnp.argmax(v, axis)
        if form == "one_hot":
            return jax.nn.one_hot(best, size, dtype=v.dtype)
        return table(w)[best]

    return b.add(f"{form} of {axis}" + (f" k={k}" if form == "top_k" else ""), fn, x)


def residual(b: Builder, x: int) -> int | None:
    """Combine with an earlier value of the same or a broadcastable shape."""
    shape = b.shapes[x]
    fits = [i for i, other in enumerate(b.shapes) if other == shape]
    wide = [
        i
        for i, other in enumerate(b.shapes)
        if len(other) == len(shape)
        and i != x
        and all(m in (1, n) for n, m in zip(shape[1:], other[1:], strict=True))
        and other[0] == shape[0]
    ]
    other = b.one_of(wide or fits)
    scale = b.weight((shape[-1],), 0.2, 0.3)
    form = b.one_of(["add", "layer scale", "multiply", "maximum", "subtract", "mean", "select"])
    forms = {
        "add": lambda w, v, u: v + u,
        "layer scale": lambda w, v, u: u + scale(w) * v,
        "multiply": lambda w, v, u: v * jnp.tanh(u),
        "maximum": lambda w, v, u: jnp.maximum(v, u),
        "subtract": lambda w, v, u: u - v,
        "mean": lambda w, v, u: (v + u) / 2,
        "select": lambda w, v, u: jnp.where(v > u, v, u * 1.0),
    }
    return b.add(f"{form}", forms[form], x, other)


def join(b: Builder, x: int) -> int | None:
    """Concatenate with an earlier value, or with a table."""
    shape = b.shapes[x]
    axes = b.axes(x)
    if not axes:
        return None
    axis = b.one_of(axes)
    fits = [
        i
        for i, other in enumerate(b.shapes)
        if len(other) == len(shape)
        and all(m == n for j, (m, n) in enumerate(zip(other, shape, strict=True)) if j != axis)
    ]
    if b.flag():
        other = b.one_of(fits)
        first = b.flag()
        return b.add(
            f"concatenate on {axis}",
            lambda w, v, u: jnp.concatenate([v, u] if first else [u, v], axis),
            x,
            other,
        )
    if axis == 0:
        return None
    rows = [b.integer(1, 2) if j == axis else size for j, size in enumerate(shape)]
    table = b.weight((1, *rows[1:]), 0.8)
    back = b.flag()

    def fn(w: Any, v: Any) -> Any:
        held = jnp.broadcast_to(table(w), (v.shape[0], *rows[1:])).astype(v.dtype)
        return jnp.concatenate([v, held] if back else [held, v], axis)

    return b.add(f"concatenate a table of {rows[axis]} on {axis}", fn, x)


def loop(b: Builder, x: int) -> int | None:
    """A loop of known length over a linear map."""
    shape, length = b.shapes[x], b.integer(1, 3)
    kernels = b.kernel(length, shape[-1], shape[-1])
    form = b.one_of(["scan", "fori"])

    def fn(w: Any, v: Any) -> Any:
        if form == "scan":
            return lax.scan(lambda c, k: (jnp.tanh(c @ k + c), None), v, kernels(w))[0]
        return lax.fori_loop(0, length, lambda i, c: 0.5 * jax.nn.relu(c @ kernels(w)[i]) + 0.1 * i, v)

    return b.add(f"{form} of {length}", fn, x)
