"""Dot-product attention."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def split_heads(x_bnc: Float[Array, "b n c"], heads: int) -> Float[Array, "b n heads d"]:
    """Cut the channels into `heads` consecutive groups."""
    b, n, c = x_bnc.shape
    return x_bnc.reshape(b, n, heads, c // heads)


def merge_heads(x_bnhd: Float[Array, "b n heads d"]) -> Float[Array, "b n c"]:
    """Inverse of `split_heads`."""
    b, n, heads, d = x_bnhd.shape
    return x_bnhd.reshape(b, n, heads * d)


def dot_product_attention(
    q_bqhd: Float[Array, "b q heads d"],
    k_bkhd: Float[Array, "b k heads d"],
    v_bkhd: Float[Array, "b k heads e"],
    bias_bhqk: Float[Array, "*b heads q k"] | None = None,
) -> Float[Array, "b q heads e"]:
    """softmax(q k^T / sqrt(d) + bias) v for each head (Vaswani et al., arXiv 1706.03762, equation 1).

    The products run in the type of the inputs, the softmax and the sum with the bias in at least float32.
    The bias may lack the batch axis, or have axes of length one.
    """
    dtype = q_bqhd.dtype
    scale = jnp.asarray(q_bqhd.shape[-1] ** -0.5, dtype)
    # Scaling the queries, not the scores, keeps float16 scores in range.
    scores_bhqk = jnp.einsum("bqhd,bkhd->bhqk", q_bqhd * scale, k_bkhd)
    scores_bhqk = scores_bhqk.astype(jnp.promote_types(dtype, jnp.float32))
    if bias_bhqk is not None:
        scores_bhqk = scores_bhqk + bias_bhqk.astype(scores_bhqk.dtype)
    weights_bhqk = jax.nn.softmax(scores_bhqk, axis=-1)
    return jnp.einsum("bhqk,bkhd->bqhd", weights_bhqk.astype(dtype), v_bkhd)


def windowed_attention(
    q_bwhnd: Float[Array, "b w heads n d"],
    k_bwhnd: Float[Array, "b w heads n d"],
    v_bwhnd: Float[Array, "b w heads n d"],
    bias_whnn: Float[Array, "*w heads n n"] | None = None,
) -> Float[Array, "b w heads n d"]:
    """`dot_product_attention` inside each of w windows, with the heads already before the tokens.

    The bias is the same for all images; it may lack the axis of the windows. Types as there.
    """
    dtype = q_bwhnd.dtype
    scale = jnp.asarray(q_bwhnd.shape[-1] ** -0.5, dtype)
    scores_bwhnn = jnp.einsum("bwhqd,bwhkd->bwhqk", q_bwhnd * scale, k_bwhnd)
    scores_bwhnn = scores_bwhnn.astype(jnp.promote_types(dtype, jnp.float32))
    if bias_whnn is not None:
        scores_bwhnn = scores_bwhnn + bias_whnn.astype(scores_bwhnn.dtype)
    weights_bwhnn = jax.nn.softmax(scores_bwhnn, axis=-1)
    return jnp.einsum("bwhqk,bwhkd->bwhqd", weights_bwhnn.astype(dtype), v_bwhnd)
