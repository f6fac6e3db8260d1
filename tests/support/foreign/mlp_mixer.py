"""MLP-Mixer in flax.linen, written with swapaxes around the token mixing (arXiv 2105.01601)."""

import flax.linen as nn
import jax
import jax.numpy as jnp


class MlpBlock(nn.Module):
    hidden: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = nn.gelu(nn.Dense(self.hidden, dtype=self.dtype)(x), approximate=False)
        return nn.Dense(x.shape[-1], dtype=self.dtype)(y)


class MixerBlock(nn.Module):
    tokens_hidden: int
    channels_hidden: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = nn.LayerNorm(dtype=self.dtype)(x)
        y = jnp.swapaxes(y, 1, 2)
        y = MlpBlock(self.tokens_hidden, self.dtype, name="token_mixing")(y)
        x = x + jnp.swapaxes(y, 1, 2)
        y = nn.LayerNorm(dtype=self.dtype)(x)
        return x + MlpBlock(self.channels_hidden, self.dtype, name="channel_mixing")(y)


class Mixer(nn.Module):
    """Logits (b, classes) of images (b, h, w, 3) that the patches divide."""

    patch: int = 16
    width: int = 512
    depth: int = 8
    tokens_hidden: int = 256
    channels_hidden: int = 2048
    classes: int = 1000
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        size = (self.patch, self.patch)
        x = nn.Conv(self.width, size, strides=size, dtype=self.dtype, name="stem")(images)
        x = jnp.reshape(x, (x.shape[0], -1, x.shape[-1]))
        for _ in range(self.depth):
            x = MixerBlock(self.tokens_hidden, self.channels_hidden, self.dtype)(x)
        x = nn.LayerNorm(dtype=self.dtype, name="pre_head_layer_norm")(x)
        return nn.Dense(self.classes, dtype=self.dtype, name="head")(jnp.mean(x, axis=1))
