"""Equivalent formulations of one convolution, for platforms on which the plain one is slow.

A form takes `(x, kernel, geometry)` and returns what `plain` returns, up to rounding. `hvjax.ops.conv`
chooses.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

Pair = tuple[int, int]

# Adjacent groups with fewer channels are joined to at least this many by `split`: narrower matrix products
# leave the vector units idle (docs/results/conv-forms.json).
SPLIT_WIDTH = 32


class Geometry(NamedTuple):
    """How a kernel meets an image.

    Pairs are (vertical, horizontal); padding is ((top, bottom), (left, right)).
    """

    stride: Pair
    padding: tuple[Pair, Pair]
    dilation: Pair
    groups: int

    def out_size(self, size: Pair, kernel: Pair) -> Pair:
        """Height and width of the result for an image and a kernel of these sizes."""
        axes = zip(size, kernel, self.stride, self.padding, self.dilation, strict=True)
        height, width = ((n + sum(p) - (k - 1) * d - 1) // s + 1 for n, k, s, p, d in axes)
        return height, width


def plain(x: Array, kernel: Array, at: Geometry) -> Array:
    """One `lax.conv_general_dilated`."""
    return lax.conv_general_dilated(
        x,
        kernel,
        at.stride,
        at.padding,
        rhs_dilation=at.dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=at.groups,
    )


def matmul(x: Array, kernel: Array, at: Geometry) -> Array:
    """A 1x1 kernel in one group as a matrix product over the pixels that the stride keeps."""
    (top, bottom), (left, right) = at.padding
    if top or bottom or left or right:
        x = jnp.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    if at.stride != (1, 1):
        x = x[:, :: at.stride[0], :: at.stride[1]]
    # Two axes, not four: the weight gradient of a product over three leading axes copies both operands.
    pixels = x.reshape(-1, x.shape[3])
    return (pixels @ kernel[0, 0]).reshape(*x.shape[:3], kernel.shape[3])


def split(x: Array, kernel: Array, at: Geometry) -> Array:
    """One dense convolution per group, or per few groups where groups are narrow.

    XLA's CPU backend runs dense convolutions and their gradients as tuned matrix products, but the weight
    gradient of a grouped one as a scalar loop.
    """
    width, joined = kernel.shape[2], _joined_groups(kernel.shape[2], at.groups)
    count = at.groups // joined
    kernel = _block_diagonal(kernel, at.groups, joined)
    outputs = kernel.shape[3] // count
    dense = at._replace(groups=1)
    parts = [
        plain(
            x[..., n * joined * width : (n + 1) * joined * width],
            kernel[..., n * outputs : (n + 1) * outputs],
            dense,
        )
        for n in range(count)
    ]
    return jnp.concatenate(parts, axis=-1)


def _joined_groups(width: int, groups: int) -> int:
    """The least divisor of `groups` that makes `SPLIT_WIDTH` channels, or all groups."""
    return next(
        n for n in range(1, groups + 1) if groups % n == 0 and (n * width >= SPLIT_WIDTH or n == groups)
    )


def _block_diagonal(kernel: Array, groups: int, joined: int) -> Array:
    """The kernel of `groups / joined` groups that does the same: zero between channels of other groups."""
    if joined == 1:
        return kernel
    kh, kw, width, outputs = kernel.shape
    blocks = kernel.reshape(kh, kw, 1, width, groups // joined, joined, outputs // groups)
    same_group = jnp.eye(joined, dtype=bool)[:, None, None, :, None]
    # A choice, not a product: the gradient of the product crashes in XLA's CPU backend (2 groups of 16).
    return jnp.where(same_group, blocks, 0).reshape(kh, kw, joined * width, outputs)


def columns(x: Array, kernel: Array, at: Geometry) -> Array:
    """The pixels that each result meets, side by side, times the kernel as one matrix, for each group.

    For small maps, where the copies cost little. XLA exchanges image and kernel where the image is the
    smaller one, and its CPU backend then takes 100 times longer than this (3x3, 512 channels, 2x2 map).
    """
    outputs, groups = kernel.shape[3], at.groups
    windows = list(_windows(x, (kernel.shape[0], kernel.shape[1]), at))
    pixels = jnp.stack([window.reshape(*window.shape[:3], groups, -1) for _, window in windows], axis=4)
    every_tap = len(windows) == kernel.shape[0] * kernel.shape[1]
    weights = kernel if every_tap else jnp.stack([kernel[tap] for tap, _ in windows])
    if groups == 1:
        rows = pixels.reshape(-1, len(windows) * x.shape[3]) @ weights.reshape(-1, outputs)
        return rows.reshape(*pixels.shape[:3], outputs)
    pixels = pixels.reshape(*pixels.shape[:4], -1)
    results = jnp.einsum("bhwgi,igo->bhwgo", pixels, weights.reshape(-1, groups, outputs // groups))
    return results.reshape(*results.shape[:3], outputs)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def shift(x: Array, kernel: Array, at: Geometry) -> Array:
    """A depthwise convolution as shifted multiply-adds.

    The derivative is written out: the input gradient is again a depthwise convolution, of the spread-out
    cotangent with the flipped kernel. Reverse mode composes to any order; forward mode does not apply to a
    `custom_vjp`.
    """
    return _multiply_add(x, kernel, at)


def _multiply_add(x: Array, kernel: Array, at: Geometry) -> Array:
    repeats = kernel.shape[3] // x.shape[3]
    x = x if repeats == 1 else jnp.repeat(x, repeats, axis=3)
    wide = jnp.promote_types(x.dtype, jnp.float32)
    taps = kernel[:, :, 0].astype(wide)
    terms = [
        window.astype(wide) * taps[tap] for tap, window in _windows(x, (kernel.shape[0], kernel.shape[1]), at)
    ]
    return sum(terms[1:], start=terms[0]).astype(x.dtype)


def _windows(x: Array, kernel: Pair, at: Geometry) -> Iterator[tuple[Pair, Array]]:
    """For each tap that meets any pixel, the pixels that it meets, in the order of the results."""
    size = (x.shape[1], x.shape[2])
    height, width = at.out_size(size, kernel)
    padded = jnp.pad(x, ((0, 0), *at.padding, (0, 0)))
    rows, columns = (_useful_taps(axis, size, kernel, at) for axis in (0, 1))
    for row, column in product(rows, columns):
        top, left = row * at.dilation[0], column * at.dilation[1]
        bottom, right = top + (height - 1) * at.stride[0] + 1, left + (width - 1) * at.stride[1] + 1
        yield (row, column), padded[:, top : bottom : at.stride[0], left : right : at.stride[1]]


def _useful_taps(axis: int, size: Pair, kernel: Pair, at: Geometry) -> list[int]:
    """Taps of one axis that meet a pixel in some result; if none does, the first, for a result of zeros."""
    starts = range(at.out_size(size, kernel)[axis])
    offsets = [tap * at.dilation[axis] - at.padding[axis][0] for tap in range(kernel[axis])]
    useful = [
        tap
        for tap, offset in enumerate(offsets)
        if any(0 <= start * at.stride[axis] + offset < size[axis] for start in starts)
    ]
    return useful or [0]


def _shift_forward(x: Array, kernel: Array, at: Geometry):
    return shift(x, kernel, at), (x, kernel)


def _shift_backward(at: Geometry, saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = saved
    return _input_gradient(x, kernel, at, dy), _weight_gradient(x, kernel, at, dy)


def _input_gradient(x: Array, kernel: Array, at: Geometry, dy: Array) -> Array:
    channels, repeats = x.shape[3], kernel.shape[3] // x.shape[3]
    edges = [(0, 0, 0)]
    for axis in (0, 1):
        reach = (kernel.shape[axis] - 1) * at.dilation[axis]
        spread = (dy.shape[1 + axis] - 1) * at.stride[axis] + 1
        before = reach - at.padding[axis][0]
        edges.append((before, x.shape[1 + axis] + reach - before - spread, at.stride[axis] - 1))
    spread_dy = lax.pad(dy, np.zeros((), dy.dtype), (*edges, (0, 0, 0)))
    here = Geometry((1, 1), ((0, 0), (0, 0)), at.dilation, dy.shape[3])
    dx: Array = shift(spread_dy, kernel[::-1, ::-1], here)  # pyright: ignore[reportAssignmentType]
    return dx if repeats == 1 else dx.reshape(*dx.shape[:3], channels, repeats).sum(4)


def _weight_gradient(x: Array, kernel: Array, at: Geometry, dy: Array) -> Array:
    """For each image, one product-and-sum per tap: an image fits into the cache, the batch does not."""
    repeats = kernel.shape[3] // x.shape[3]
    wide = jnp.promote_types(x.dtype, jnp.float32)

    def add_image(total: Array, image: tuple[Array, Array]) -> tuple[Array, None]:
        x_image, dy_image = (a[None].astype(wide) for a in image)
        x_image = x_image if repeats == 1 else jnp.repeat(x_image, repeats, axis=3)
        windows = _windows(x_image, (kernel.shape[0], kernel.shape[1]), at)
        sums = {tap: jnp.sum(window * dy_image, axis=(0, 1, 2)) for tap, window in windows}
        zero = jnp.zeros(kernel.shape[3], wide)
        every_tap = product(range(kernel.shape[0]), range(kernel.shape[1]))
        taps = [sums.get(tap, zero) for tap in every_tap]
        return total + jnp.stack(taps).reshape(kernel.shape), None

    return lax.scan(add_image, jnp.zeros(kernel.shape, wide), (x, dy))[0].astype(kernel.dtype)


shift.defvjp(_shift_forward, _shift_backward)
