"""Batch normalisation with the running statistics of PyTorch (Ioffe and Szegedy, arXiv 1502.03167)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

from hvjax.blocks.form import Form
from hvjax.ops.normalize import affine, normalize_batch, normalize_batch_over

EPSILON = 1e-5  # of every batch norm in the reference implementations


class BatchNorm(nn.Module):
    """Normalise each channel (the last axis) over all other axes.

    With `train=True` the statistics are those of the batch and the running ones are updated as
    `new = momentum * old + (1 - momentum) * batch`, where the batch variance is the unbiased one (divided by
    n - 1), as PyTorch keeps it; `flax.linen.BatchNorm` keeps the biased one. Statistics and normalisation are
    computed in at least float32; the result has type `form.dtype`.

    Under `jit` with a sharded batch axis the statistics are those of the global batch without further ado.
    Inside `shard_map`, `pmap` or `vmap`, name the mapped axis in `form.axis_name` to get the same.

    Raises:
      ValueError: with `train=True`, if "batch_stats" is not mutable, or if there is one value per channel.
    """

    features: int
    form: Form = Form()
    momentum: float = 0.9
    epsilon: float = EPSILON
    scale_init: nn.initializers.Initializer = nn.initializers.ones

    @nn.compact
    def __call__(self, x: Float[Array, "*batch c"], *, train: bool = False) -> Float[Array, "*batch c"]:
        shape = (self.features,)
        scale = self.param("scale", self.scale_init, shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, shape, jnp.float32)
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32)
        var = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
        if not train:
            multiplier = scale * lax.rsqrt(var.value + self.epsilon)
            return affine(x, multiplier, bias - mean.value * multiplier, self.form.dtype)

        count = self._count(x)
        if self.form.axis_name is None or self.is_initializing():
            y, batch_mean, batch_var = normalize_batch(x, scale, bias, self.epsilon)
        else:
            y, batch_mean, batch_var = normalize_batch_over(self.form.axis_name, x, scale, bias, self.epsilon)
        if not self.is_initializing():
            self._update(mean, batch_mean)
            self._update(var, batch_var * (count / (count - 1)))
        return y.astype(self.form.dtype)

    def _count(self, x: Array) -> int:
        """Values per channel, over all members of a mapped axis; checks that training is possible."""
        if not self.is_initializing() and not self.is_mutable_collection("batch_stats"):
            raise ValueError(
                "train=True updates the running statistics: "
                'call apply(..., train=True, mutable=["batch_stats"])'
            )
        count = x.size // x.shape[-1]
        if self.form.axis_name is not None and not self.is_initializing():
            count *= lax.psum(1, self.form.axis_name)
        if count < 2 and not self.is_initializing():
            raise ValueError(
                f"{'/'.join(self.path)}: batch statistics need more than one value per channel, "
                f"got input of shape {x.shape}; use a larger batch or larger images"
            )
        return count

    def _update(self, running: nn.Variable, batch: Array) -> None:
        keep = jnp.asarray(self.momentum, running.value.dtype)
        running.value = keep * running.value + (1 - keep) * jax.lax.stop_gradient(batch).astype(
            running.value.dtype
        )


class Affine(nn.Module):
    """What is left of a batch norm that no neighbouring layer can absorb: `scale * x + bias` per channel."""

    features: int
    form: Form = Form()

    @nn.compact
    def __call__(self, x: Float[Array, "*batch c"]) -> Float[Array, "*batch c"]:
        scale = self.param("scale", nn.initializers.ones, (self.features,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        return affine(x, scale, bias, self.form.dtype)
