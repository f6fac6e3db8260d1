"""Pooling with the edge rules of PyTorch, on NHWC feature maps and on token sequences."""

from __future__ import annotations

import math
from itertools import product

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from hvjax.ops.conv import prefers_forms

Pair = tuple[int, int]


def avg_pool2d(
    x: Float[Array, "b h w c"],
    window: int | Pair,
    stride: int | Pair,
    *,
    ceil_mode: bool = False,
    padding: int | Pair = 0,
    count_include_pad: bool = False,
) -> Float[Array, "b ho wo c"]:
    """Mean over windows, in the type of `x`.

    Args:
      x: feature maps.
      window: size of the window, one number or (vertical, horizontal).
      stride: step of the window, likewise.
      ceil_mode: also keep a last window that reaches over the border. It averages the real pixels only.
      padding: zeros on each side, one number or (vertical, horizontal); at most half the window.
      count_include_pad: count those zeros in the mean (never the overhang that `ceil_mode` adds).

    Raises:
      ValueError: if the window does not fit into the padded map, or the padding is over half the window.
    """
    windows, strides, pads = _geometry(x.shape, window, stride, padding, ceil_mode)
    total = _reduce(x, lax.add, 0.0, windows, strides, pads)
    sides = [_pair(padding)[axis] if count_include_pad else 0 for axis in (0, 1)]
    counts = [
        _counts(x.shape[1 + axis], windows[axis], strides[axis], pads[axis], sides[axis]) for axis in (0, 1)
    ]
    area = counts[0][:, None, None] * counts[1][None, :, None]
    if np.all(area == area.flat[0]):  # no partial window: one division by a number, no table in the graph
        return total * jnp.asarray(1.0 / area.flat[0], x.dtype)
    return total * jnp.asarray(1.0 / area, x.dtype)


def max_pool2d(
    x: Float[Array, "b h w c"], window: int | Pair, stride: int | Pair, *, padding: int | Pair = 0
) -> Float[Array, "b ho wo c"]:
    """Maximum over windows; the border is filled with minus infinity.

    Raises:
      ValueError: if the window does not fit into the padded map, or the padding is over half the window.
    """
    windows, strides, pads = _geometry(x.shape, window, stride, padding, ceil_mode=False)
    if prefers_forms():
        return _max_of_shifts(x, windows, strides, pads)
    return _reduce(x, lax.max, -jnp.inf, windows, strides, pads)


def adaptive_avg_pool2d(x: Float[Array, "b h w c"], size: int | Pair) -> Float[Array, "b ho wo c"]:
    """Mean over a grid of windows that together cover the map, as `torch.nn.AdaptiveAvgPool2d`.

    Of h rows, window i of n has those from floor(i h / n) to ceil((i + 1) h / n), so that windows
    overlap where n does not divide h. Sums are taken in at least float32; the result has the type of `x`.

    Raises:
      ValueError: if `size` is less than 1.
    """
    down, across = _pair(size)
    if min(down, across) < 1:
        raise ValueError(f"size={size}: expected at least 1 window a side")
    h, w = x.shape[1:3]
    wide = jnp.promote_types(x.dtype, jnp.float32)
    y = x.astype(wide)
    if h % down == 0 and w % across == 0:
        window = (h // down, w // across)
        return avg_pool2d(y, window, window).astype(x.dtype)
    rows, columns = jnp.asarray(_shares(h, down), wide), jnp.asarray(_shares(w, across), wide)
    y = jnp.einsum("bhwc,hi->biwc", y, rows, precision=lax.Precision.HIGHEST)
    y = jnp.einsum("biwc,wj->bijc", y, columns, precision=lax.Precision.HIGHEST)
    return y.astype(x.dtype)


def global_avg_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b c"]:
    """Mean over height and width, accumulated in at least float32 and returned in the type of `x`."""
    return jnp.mean(x, axis=(1, 2), dtype=jnp.promote_types(x.dtype, jnp.float32)).astype(x.dtype)


def avg_pool_tokens(x_bnc: Float[Array, "b n c"], window: int) -> Float[Array, "b m c"]:
    """Mean over each run of `window` consecutive tokens; m = n // window, tokens of an incomplete last run
    are dropped.

    This is a 1-D pooling along the flattened rows of the image, as in the reference code of Next-ViT, not a
    pooling over square windows of the image.

    Raises:
      ValueError: if there are fewer than `window` tokens.
    """
    b, n, c = x_bnc.shape
    groups = n // window
    if groups < 1:
        raise ValueError(f"cannot average runs of {window} tokens: there are only {n}")
    runs = x_bnc[:, : groups * window].reshape(b, groups, window, c)
    return jnp.mean(runs, axis=2)


def _shares(size: int, count: int) -> np.ndarray:
    """Weight of each of `size` positions in the mean of each of `count` windows, (size, count)."""
    shares = np.zeros((size, count))
    for i in range(count):
        window = slice(i * size // count, -(-(i + 1) * size // count))
        shares[window, i] = 1 / len(range(size)[window])
    return shares


def _pair(value: int | Pair) -> Pair:
    return (value, value) if isinstance(value, (int, np.integer)) else (value[0], value[1])


def _geometry(
    shape: tuple[int, ...], window: int | Pair, stride: int | Pair, padding: int | Pair, ceil_mode: bool
) -> tuple[Pair, Pair, tuple[Pair, Pair]]:
    """Windows, strides and the (before, after) padding of each axis, overhang of ceil_mode included."""
    windows, strides, paddings = _pair(window), _pair(stride), _pair(padding)
    pads: list[Pair] = []
    for size, k, s, p in zip(shape[1:3], windows, strides, paddings, strict=True):
        if 2 * p > k:
            raise ValueError(f"padding={p} is more than half of window={k}: some windows would hold no pixel")
        room = size + 2 * p - k
        steps = math.ceil(room / s) if ceil_mode else room // s
        if ceil_mode and steps * s >= size + p:  # a window must start on a real pixel or in the left padding
            steps -= 1
        if steps < 0:
            raise ValueError(f"a window of {k} does not fit into a map of {size} pixels with padding={p}")
        pads.append((p, max(0, steps * s + k - size - p)))
    return windows, strides, (pads[0], pads[1])


def _reduce(x: Array, operator, start: float, windows: Pair, strides: Pair, pads: tuple[Pair, Pair]) -> Array:
    # A NumPy constant: JAX must see it while tracing under jit to know the sum and the maximum, and their
    # gradients.
    return lax.reduce_window(
        x,
        np.array(start, x.dtype),
        operator,
        (1, *windows, 1),
        (1, *strides, 1),
        ((0, 0), pads[0], pads[1], (0, 0)),
    )


def _max_of_shifts(x: Array, windows: Pair, strides: Pair, pads: tuple[Pair, Pair]) -> Array:
    """The maximum as comparisons of shifted maps; its gradient, too, goes to the first largest pixel.

    XLA's CPU backend runs the gradient of the window reduction one value at a time: this is 5 times faster
    (3x3, stride 2, 112x112x64).
    """
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)), constant_values=-jnp.inf)
    rows, columns = ((padded.shape[1 + i] - windows[i]) // strides[i] * strides[i] + 1 for i in (0, 1))
    largest = None
    for top, left in product(range(windows[0]), range(windows[1])):
        pixel = padded[:, top : top + rows : strides[0], left : left + columns : strides[1]]
        # not a number is passed on, as the reduction does
        largest = (
            pixel if largest is None else jnp.where((pixel > largest) | (pixel != pixel), pixel, largest)
        )
    assert largest is not None  # a window has at least one pixel
    return largest


def _counts(size: int, window: int, stride: int, pads: Pair, counted_side: int) -> np.ndarray:
    """Positions that each window along one axis divides by: pixels and `counted_side` zeros each side."""
    steps = (size + pads[0] + pads[1] - window) // stride + 1
    starts = np.arange(steps) * stride - pads[0]
    first = np.maximum(starts, -counted_side)
    last = np.minimum(starts + window, size + counted_side)
    return (last - first).astype(np.float64)
