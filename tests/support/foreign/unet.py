"""U-Nets in flax.linen: transposed convolutions or nearest resize on the way up, batch or group norm."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp


class DoubleConv(nn.Module):
    width: int
    groups: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        for _ in range(2):
            x = nn.Conv(self.width, (3, 3), use_bias=False, dtype=self.dtype)(x)
            if self.groups:
                x = nn.GroupNorm(self.groups, dtype=self.dtype)(x)
            else:
                x = nn.BatchNorm(not train, dtype=self.dtype)(x)
            x = nn.relu(x)
        return x


class UNet(nn.Module):
    """Class scores (b, h, w, classes) of images (b, h, w, 3) whose sides the levels can halve."""

    widths: Sequence[int] = (32, 64, 128, 256)
    classes: int = 21
    up: str = "transposed"  # or "nearest", "bilinear"
    groups: int = 0  # of the group norms; 0: batch norms
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        skips = []
        for width in self.widths[:-1]:
            x = DoubleConv(width, self.groups, self.dtype)(x, train)
            skips.append(x)
            x = nn.max_pool(x, (2, 2), (2, 2))
        x = DoubleConv(self.widths[-1], self.groups, self.dtype)(x, train)
        for skip in skips[::-1]:
            width = skip.shape[-1]
            if self.up == "transposed":
                x = nn.ConvTranspose(width, (2, 2), (2, 2), dtype=self.dtype)(x)
            else:
                x = jax.image.resize(x, (*skip.shape[:3], x.shape[-1]), self.up)
                x = nn.Conv(width, (1, 1), dtype=self.dtype)(x)
            x = jnp.concatenate([skip, x], -1)
            x = DoubleConv(width, self.groups, self.dtype)(x, train)
        return nn.Conv(self.classes, (1, 1), dtype=self.dtype)(x)
