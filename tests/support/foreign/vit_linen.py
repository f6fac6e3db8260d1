"""A vision transformer in flax.linen with nn.MultiHeadDotProductAttention."""

import flax.linen as nn
import jax
import jax.numpy as jnp


class EncoderBlock(nn.Module):
    heads: int
    mlp: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, deterministic: bool) -> jax.Array:
        y = nn.LayerNorm(dtype=self.dtype)(x)
        y = nn.MultiHeadDotProductAttention(self.heads, dtype=self.dtype, dropout_rate=0.1)(
            y, y, deterministic=deterministic
        )
        x = x + nn.Dropout(0.1)(y, deterministic)
        y = nn.LayerNorm(dtype=self.dtype)(x)
        y = nn.Dense(self.mlp, dtype=self.dtype)(y)
        y = nn.gelu(y)
        y = nn.Dense(x.shape[-1], dtype=self.dtype)(y)
        return x + nn.Dropout(0.1)(y, deterministic)


class ViT(nn.Module):
    """Logits (b, classes) of images (b, h, w, 3) that the patches divide."""

    patch: int = 16
    width: int = 192
    depth: int = 12
    heads: int = 3
    classes: int = 1000
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        size = (self.patch, self.patch)
        x = nn.Conv(self.width, size, size, "VALID", dtype=self.dtype, name="embedding")(images)
        b, h, w, c = x.shape
        x = jnp.reshape(x, [b, h * w, c])
        cls = self.param("cls", nn.initializers.zeros, (1, 1, c))
        x = jnp.concatenate([jnp.tile(cls.astype(x.dtype), [b, 1, 1]), x], axis=1)
        x = x + self.param("pos", nn.initializers.normal(0.02), (1, h * w + 1, c)).astype(x.dtype)
        for i in range(self.depth):
            x = EncoderBlock(self.heads, 4 * c, self.dtype, name=f"encoder_{i}")(x, not train)
        x = nn.LayerNorm(dtype=self.dtype, name="norm")(x)
        return nn.Dense(self.classes, dtype=self.dtype, name="head")(x[:, 0])
