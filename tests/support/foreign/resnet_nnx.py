"""A ResNet of bottlenecks in flax.nnx, with BatchNorm."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx


class Bottleneck(nnx.Module):
    def __init__(self, inputs: int, width: int, stride: int, dtype: jnp.dtype, rngs: nnx.Rngs):
        conv = partial(nnx.Conv, use_bias=False, dtype=dtype, rngs=rngs)
        norm = partial(nnx.BatchNorm, dtype=dtype, rngs=rngs)
        self.conv1 = conv(inputs, width, (1, 1))
        self.bn1 = norm(width)
        self.conv2 = conv(width, width, (3, 3), strides=stride, padding=1)
        self.bn2 = norm(width)
        self.conv3 = conv(width, 4 * width, (1, 1))
        self.bn3 = norm(4 * width)
        self.shortcut = nnx.data(None)
        if stride > 1 or inputs != 4 * width:
            self.shortcut = nnx.Sequential(conv(inputs, 4 * width, (1, 1), strides=stride), norm(4 * width))

    def __call__(self, x: jax.Array) -> jax.Array:
        y = nnx.relu(self.bn1(self.conv1(x)))
        y = nnx.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return nnx.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class ResNet(nnx.Module):
    """Logits (b, classes) of images (b, h, w, 3)."""

    def __init__(
        self,
        depths: Sequence[int] = (3, 4, 6, 3),
        width: int = 64,
        classes: int = 1000,
        dtype: jnp.dtype = jnp.float32,
        *,
        rngs: nnx.Rngs,
    ):
        self.stem = nnx.Conv(3, width, (7, 7), 2, padding=3, use_bias=False, dtype=dtype, rngs=rngs)
        self.norm = nnx.BatchNorm(width, dtype=dtype, rngs=rngs)
        blocks, inputs = [], width
        for stage, depth in enumerate(depths):
            for i in range(depth):
                blocks.append(Bottleneck(inputs, width << stage, 2 if i == 0 < stage else 1, dtype, rngs))
                inputs = 4 * (width << stage)
        self.blocks = nnx.List(blocks)
        self.head = nnx.Linear(inputs, classes, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu(self.norm(self.stem(x)))
        x = nnx.max_pool(x, (3, 3), (2, 2), "SAME")
        for block in self.blocks:
            x = block(x)
        return self.head(jnp.mean(x, axis=(1, 2)))
