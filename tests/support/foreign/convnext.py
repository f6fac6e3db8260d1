"""ConvNeXt in flax.linen: depthwise convolutions, layer norms and layer scale (arXiv 2201.03545)."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp


class Block(nn.Module):
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        c = x.shape[-1]
        y = nn.Conv(c, (7, 7), feature_group_count=c, dtype=self.dtype, name="dwconv")(x)
        y = nn.LayerNorm(epsilon=1e-6, dtype=self.dtype)(y)
        y = nn.Dense(4 * c, dtype=self.dtype)(y)
        y = jax.nn.gelu(y, False)
        y = nn.Dense(c, dtype=self.dtype)(y)
        gamma = self.param("gamma", nn.initializers.constant(1e-6), (c,))
        return x + gamma.astype(y.dtype) * y


class ConvNeXt(nn.Module):
    """Logits (b, classes) of images (b, h, w, 3), sides multiples of 32."""

    depths: Sequence[int] = (3, 3, 9, 3)
    widths: Sequence[int] = (96, 192, 384, 768)
    classes: int = 1000
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for stage, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True)):
            if stage == 0:
                x = nn.Conv(width, (4, 4), 4, "VALID", dtype=self.dtype)(x)
                x = nn.LayerNorm(epsilon=1e-6, dtype=self.dtype)(x)
            else:
                x = nn.LayerNorm(epsilon=1e-6, dtype=self.dtype)(x)
                x = nn.Conv(width, (2, 2), 2, "VALID", dtype=self.dtype)(x)
            for _ in range(depth):
                x = Block(self.dtype)(x)
        x = nn.LayerNorm(epsilon=1e-6, dtype=self.dtype)(x.mean((1, 2)))
        return nn.Dense(self.classes, dtype=self.dtype)(x)
