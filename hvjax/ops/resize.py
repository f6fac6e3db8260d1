"""Resizing of feature maps with the coordinates of PyTorch (`align_corners=False`)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Size = tuple[int, int]


def resize_bilinear(x: Float[Array, "b h w c"], size: Size) -> Float[Array, "b ho wo c"]:
    """Bilinear interpolation to `size`, (height, width), in the type of `x`.

    As `torch.nn.functional.interpolate(mode="bilinear", align_corners=False)`: position i of n reads the
    input at (i + 1/2) h / n - 1/2, clamped to the map. A smaller map takes two neighbours too: no smoothing.

    Raises:
      ValueError: if a side of `size` is less than 1.
    """
    _check(size)
    b, h, w, c = x.shape
    if (h, w) == tuple(size):
        return x
    if h == w == 1:  # one value for all: no interpolation in the graph
        return jnp.broadcast_to(x, (b, *size, c))
    return jax.image.resize(x, (b, *size, c), "linear", antialias=False)


def resize_nearest(x: Float[Array, "b h w c"], size: Size) -> Float[Array, "b ho wo c"]:
    """Repeat pixels to fill `size`, (height, width).

    As `torch.nn.functional.interpolate(mode="nearest")`: position i of n is that of floor(i h / n).

    Raises:
      ValueError: if a side of `size` is less than 1.
    """
    _check(size)
    b, h, w, c = x.shape
    if (h, w) == tuple(size):
        return x
    if size[0] % h == 0 and size[1] % w == 0:  # a broadcast: its gradient is a sum, not a scatter
        up, across = size[0] // h, size[1] // w
        repeated = jnp.broadcast_to(x[:, :, None, :, None], (b, h, up, w, across, c))
        return repeated.reshape(b, *size, c)
    rows, columns = (np.arange(n) * old // n for n, old in zip(size, (h, w), strict=True))
    return jnp.take(jnp.take(x, rows, axis=1), columns, axis=2)


def _check(size: Size) -> None:
    if min(size) < 1:
        raise ValueError(f"size={size}: expected at least 1 pixel a side")
