"""Normalisation by statistics of the batch or of each position.

That by batch statistics has a backward pass that reads the activations as rarely as it can.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


def affine(
    x: Float[Array, "*batch c"], scale: Float[Array, "c"], bias: Float[Array, "c"], dtype
) -> Float[Array, "*batch c"]:
    """`scale * x + bias` per channel, in the widest type of the three, returned as `dtype`."""
    wide = jnp.promote_types(x.dtype, scale.dtype)
    return (x.astype(wide) * scale.astype(wide) + bias.astype(wide)).astype(dtype)


def layer_norm(
    x: Float[Array, "*batch c"], scale: Float[Array, "c"], bias: Float[Array, "c"], epsilon: float
) -> Float[Array, "*batch c"]:
    """Normalise each row of the last axis by its mean and biased variance, then scale and shift.

    Computed in at least float32 and returned in the type of `x`.
    """
    return _normalize_over((-1,), x, scale, bias, epsilon)


def group_norm(
    x: Float[Array, "b h w c"], scale: Float[Array, "c"], bias: Float[Array, "c"], epsilon: float
) -> Float[Array, "b h w c"]:
    """Normalise each image by its mean and biased variance over all positions and channels: one group.

    Scale and shift are per channel. Computed in at least float32 and returned in the type of `x`.
    """
    return _normalize_over((1, 2, 3), x, scale, bias, epsilon)


def normalize_batch(
    x: Float[Array, "*batch c"], scale: Float[Array, "c"], bias: Float[Array, "c"], epsilon: float
) -> tuple[Float[Array, "*batch c"], Float[Array, "c"], Float[Array, "c"]]:
    """Normalise `x` by its own mean and biased variance per channel, then scale and shift.

    Returns the result in the type of `x`, and the mean and the biased variance in at least float32. The mean
    and the variance are side results for running statistics: no gradient flows back through them.

    The derivative is written out (arXiv 1502.03167, section 3) because automatic differentiation of the
    two-pass variance reads the activations three times on the way back; this needs one reduction pass and one
    elementwise pass.
    """
    return _normalize(x, scale, bias, epsilon)


def normalize_batch_over(
    axis_name: str,
    x: Float[Array, "*batch c"],
    scale: Float[Array, "c"],
    bias: Float[Array, "c"],
    epsilon: float,
) -> tuple[Float[Array, "*batch c"], Float[Array, "c"], Float[Array, "c"]]:
    """`normalize_batch` over all members of a mapped axis (`shard_map`, `pmap`, `vmap`)."""
    wide, axes = _wide(x), tuple(range(x.ndim - 1))
    x_wide = x.astype(wide)
    mean = lax.pmean(jnp.mean(x_wide, axes), axis_name)
    centred = x_wide - mean
    var = lax.pmean(jnp.mean(jnp.square(centred), axes), axis_name)
    y = centred * (scale.astype(wide) * lax.rsqrt(var + epsilon)) + bias.astype(wide)
    return y.astype(x.dtype), mean, var


def _normalize_over(axes: tuple[int, ...], x: Array, scale: Array, bias: Array, epsilon: float) -> Array:
    wide = _wide(x)
    x_wide = x.astype(wide)
    mean = jnp.mean(x_wide, axis=axes, keepdims=True)
    centred = x_wide - mean
    var = jnp.mean(jnp.square(centred), axis=axes, keepdims=True)
    y = centred * lax.rsqrt(var + jnp.asarray(epsilon, wide))
    return (y * scale.astype(wide) + bias.astype(wide)).astype(x.dtype)


def _wide(x: Array):
    return jnp.promote_types(x.dtype, jnp.float32)


def _forward(x: Array, scale: Array, bias: Array, epsilon: float):
    wide, axes = _wide(x), tuple(range(x.ndim - 1))
    x_wide = x.astype(wide)
    # Two passes: the mean of squares minus the squared mean loses digits where the mean is large.
    mean = jnp.mean(x_wide, axes)
    var = jnp.mean(jnp.square(x_wide - mean), axes)
    rstd = lax.rsqrt(var + epsilon)
    y = (x_wide - mean) * (scale.astype(wide) * rstd) + bias.astype(wide)
    return (y.astype(x.dtype), mean, var), (x, scale, bias, mean, rstd)


def _backward(epsilon: float, saved, cotangents):
    del epsilon
    x, scale, bias, mean, rstd = saved
    dy = cotangents[0]
    wide, axes = _wide(x), tuple(range(x.ndim - 1))
    count = x.size // x.shape[-1]
    dy_wide = dy.astype(wide)
    normal = (x.astype(wide) - mean) * rstd
    dbias = jnp.sum(dy_wide, axes)
    dscale = jnp.sum(dy_wide * normal, axes)
    dx = (scale.astype(wide) * rstd) * (dy_wide - dbias / count - normal * (dscale / count))
    return dx.astype(x.dtype), dscale.astype(scale.dtype), dbias.astype(bias.dtype)


def _primal(x: Array, scale: Array, bias: Array, epsilon: float):
    return _forward(x, scale, bias, epsilon)[0]


_normalize = jax.custom_vjp(_primal, nondiff_argnums=(3,))
_normalize.defvjp(_forward, _backward)
