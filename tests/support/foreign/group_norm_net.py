"""A small convolutional network in flax.linen with GroupNorm, Swish, average pools and squeeze-excitation."""

import flax.linen as nn
import jax
import jax.numpy as jnp


class Block(nn.Module):
    width: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = nn.swish(nn.GroupNorm(8, dtype=self.dtype)(x))
        y = nn.Conv(self.width, (3, 3), dtype=self.dtype)(y)
        y = nn.swish(nn.GroupNorm(None, group_size=4, dtype=self.dtype)(y))
        y = nn.Conv(self.width, (3, 3), dtype=self.dtype)(y)
        gate = nn.Dense(self.width // 4, dtype=self.dtype)(y.mean((1, 2), keepdims=True))
        y = y * nn.sigmoid(nn.Dense(self.width, dtype=self.dtype)(nn.relu(gate)))
        if x.shape[-1] != self.width:
            x = nn.Conv(self.width, (1, 1), dtype=self.dtype)(x)
        return x + y


class GroupNormNet(nn.Module):
    """Class probabilities (b, classes) of images (b, h, w, 3)."""

    widths: tuple[int, ...] = (32, 64, 128)
    classes: int = 100
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.Conv(self.widths[0], (3, 3), dtype=self.dtype)(x)
        for width in self.widths:
            x = nn.avg_pool(Block(width, self.dtype)(x), (2, 2), (2, 2))
        x = nn.hard_swish(nn.LayerNorm(dtype=self.dtype)(x))
        return nn.softmax(nn.Dense(self.classes, dtype=self.dtype)(x.mean(axis=(1, 2))))
