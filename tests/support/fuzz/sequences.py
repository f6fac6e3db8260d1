"""Operations on tokens (b, n, c): attention in the ways people write it, class tokens, positions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from fuzz.network import Builder

Projected = Callable[[Any, Any], tuple[Any, Any, Any]]


def attention(b: Builder, x: int) -> int | None:
    _, count, channels = b.shapes[x]
    heads, depth = b.integer(1, 3), b.integer(1, 4)
    project = _projections(b, channels, heads, depth)
    attend = _scores(b, count, heads, depth)
    out = b.kernel(heads * depth, channels)
    bias = b.weight((channels,), 0.2)
    residual, normed = b.flag(), b.flag()
    epsilon = b.one_of([1e-6, 1e-5])
    scale, shift = b.weight((channels,), 0.3, 1.0), b.weight((channels,), 0.3)

    def fn(w: Any, v: Any) -> Any:
        t = v
        if normed and channels > 1:
            given = {"params": {"scale": scale(w), "bias": shift(w)}}
            t = nn.LayerNorm(epsilon).apply(given, v)
        made = attend[1](w, *project[1](w, t))
        made = made.reshape(v.shape[0], count, heads * depth) @ out(w) + bias(w)
        return v + made if residual else made

    said = f"attention of {heads} heads of {depth}: {project[0]}; {attend[0]}"
    return b.add(f"{said}{'; norm' if normed else ''}{'; residual' if residual else ''}", fn, x)


def _projections(b: Builder, channels: int, heads: int, depth: int) -> tuple[str, Projected]:
    """Queries, keys and values (b, n, heads, depth) from tokens."""
    width = heads * depth
    form = b.one_of(["three", "joint", "joint by head", "einsum", "key and value", "one key head"])
    q, k, v = (b.kernel(channels, width) for _ in range(3))
    joint = b.kernel(channels, 3 * width)
    biases = [b.weight((width,), 0.3) for _ in range(3)] if b.flag() else None
    many = b.weight((3, width), 0.3)

    def split(t: Any, pieces: int) -> Any:
        return t.reshape(*t.shape[:2], pieces, depth)

    def three(w: Any, t: Any) -> Any:
        made = [t @ kernel(w) for kernel in (q, k, v)]
        if biases:
            made = [value + bias(w) for value, bias in zip(made, biases, strict=True)]
        return tuple(split(value, heads) for value in made)

    def together(w: Any, t: Any) -> Any:
        made = t @ joint(w)
        if biases:
            made = made + many(w).reshape(-1)
        if form == "joint":
            return tuple(split(part, heads) for part in jnp.split(made, 3, -1))
        made = made.reshape(*t.shape[:2], 3, heads, depth)
        return made[:, :, 0], made[:, :, 1], made[:, :, 2]

    def by_einsum(w: Any, t: Any) -> Any:
        shaped = [kernel(w).reshape(channels, heads, depth) for kernel in (q, k, v)]
        made = [jnp.einsum("bnc,chd->bnhd", t, kernel) for kernel in shaped]
        if biases:
            made = [m + bias(w).reshape(heads, depth) for m, bias in zip(made, biases, strict=True)]
        return tuple(made)

    def key_and_value(w: Any, t: Any) -> Any:
        both = (t @ joint(w)[:, : 2 * width]).reshape(*t.shape[:2], 2, heads, depth)
        return split(t @ q(w), heads), both[:, :, 0], both[:, :, 1]

    def one_key(w: Any, t: Any) -> Any:
        wide = (*t.shape[:2], heads, depth)
        key, value = (jnp.broadcast_to((t @ kern(w)[:, :depth])[:, :, None], wide) for kern in (k, v))
        return split(t @ q(w), heads), key, value

    forms = {
        "three": three,
        "joint": together,
        "joint by head": together,
        "einsum": by_einsum,
        "key and value": key_and_value,
        "one key head": one_key,
    }
    return form + (" with biases" if biases else ""), forms[form]


def _scores(b: Builder, count: int, heads: int, depth: int) -> tuple[str, Callable[..., Any]]:
    """Attention over (b, n, heads, depth), in one of the ways it is written."""
    form = b.one_of(
        ["einsum", "matmul", "flax", "jax", "transposed", "linear", "channels", "pooled keys", "cosine"]
    )
    table = b.weight((heads, count, count), 0.7)
    biased, masked, before = b.flag(), b.flag(), b.flag()
    size = 1 / np.sqrt(depth)
    mask = np.tril(np.ones((count, count), bool))

    def shaped(w: Any, scores: Any) -> Any:
        scores = scores if before else scores * size
        scores = scores + table(w) if biased else scores
        scores = jnp.where(mask, scores, -1e4) if masked else scores
        return jax.nn.softmax(scores, -1)

    def einsum(w: Any, q: Any, k: Any, v: Any) -> Any:
        chances = shaped(w, jnp.einsum("bqhd,bkhd->bhqk", q * size if before else q, k))
        return jnp.einsum("bhqk,bkhd->bqhd", chances, v)

    def matmul(w: Any, q: Any, k: Any, v: Any) -> Any:
        q, k, v = (t.transpose(0, 2, 1, 3) for t in (q * size if before else q, k, v))
        return (shaped(w, q @ k.swapaxes(-1, -2)) @ v).transpose(0, 2, 1, 3)

    def transposed(w: Any, q: Any, k: Any, v: Any) -> Any:
        """Scores with the keys first, as nobody should write them."""
        scores = jnp.einsum("bqhd,bkhd->bkhq", q * size if before else q, k)
        scores = scores if before else scores * size
        return jnp.einsum("bkhq,bkhd->bqhd", jax.nn.softmax(scores, 1), v)

    def linear(w: Any, q: Any, k: Any, v: Any) -> Any:
        q, k = jax.nn.elu(q) + 1, jax.nn.elu(k) + 1
        found = jnp.einsum("bnhd,bhde->bnhe", q, jnp.einsum("bnhd,bnhe->bhde", k, v))
        return found / (jnp.einsum("bnhd,bhd->bnh", q, k.sum(1)) + 0.1)[..., None]

    def channels(w: Any, q: Any, k: Any, v: Any) -> Any:
        chances = jax.nn.softmax(jnp.einsum("bnhd,bnhe->bhde", q, k) * size / count, -1)
        return jnp.einsum("bhde,bnhe->bnhd", chances, v)

    def pooled(w: Any, q: Any, k: Any, v: Any) -> Any:
        part = next(d for d in (2, 3, 1) if count % d == 0)
        k, v = (t.reshape(t.shape[0], count // part, part, heads, depth).mean(2) for t in (k, v))
        chances = jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", q, k) * size, -1)
        return jnp.einsum("bhqk,bkhd->bqhd", chances, v)

    def cosine(w: Any, q: Any, k: Any, v: Any) -> Any:
        q, k = (t / (jnp.linalg.norm(t, axis=-1, keepdims=True) + 0.1) for t in (q, k))
        chances = jax.nn.softmax(10 * jnp.einsum("bqhd,bkhd->bhqk", q, k), -1)
        return jnp.einsum("bhqk,bkhd->bqhd", chances, v)

    def flax(w: Any, q: Any, k: Any, v: Any) -> Any:
        bias = table(w)[None] if biased else None
        return nn.dot_product_attention(q, k, v, bias=bias, mask=mask[None, None] if masked else None)

    def by_jax(w: Any, q: Any, k: Any, v: Any) -> Any:
        bias = table(w)[None] if biased else None
        return jax.nn.dot_product_attention(q, k, v, bias=bias, is_causal=masked)

    forms = {
        "einsum": einsum,
        "matmul": matmul,
        "flax": flax,
        "jax": by_jax,
        "transposed": transposed,
        "linear": linear,
        "channels": channels,
        "pooled keys": pooled,
        "cosine": cosine,
    }
    said = [form] + ["bias"] * biased + ["mask"] * masked + ["scaled queries"] * before
    return " ".join(said), forms[form]


def flax_attention(b: Builder, x: int) -> int | None:
    heads = b.integer(1, 3)
    module = nn.MultiHeadDotProductAttention(
        heads,
        qkv_features=heads * b.integer(1, 4),
        out_features=b.one_of([None, 5]),
        use_bias=b.flag(),
        normalize_qk=b.flag() and b.shapes[x][-1] > 1,
        deterministic=True,
    )
    return b.module(module, x)


def class_token(b: Builder, x: int) -> int | None:
    """One or two learned tokens in front, positions on all; or the first token taken out."""
    _, count, channels = b.shapes[x]
    form = b.one_of(["prepend", "append", "positions", "take first", "without first", "mean of rest"])
    extra = b.integer(1, 2)
    token, table = b.weight((1, extra, channels), 0.5), b.weight((1, count + extra, channels), 0.5)
    added = b.flag()
    if count < 2 and form in ("without first", "mean of rest"):
        return None

    def put(w: Any, v: Any) -> Any:
        held = jnp.broadcast_to(token(w), (v.shape[0], extra, channels)).astype(v.dtype)
        made = jnp.concatenate([held, v] if form == "prepend" else [v, held], 1)
        return made + table(w) if added else made

    forms = {
        "prepend": put,
        "append": put,
        "positions": lambda w, v: v + table(w)[:, extra:],
        "take first": lambda w, v: v[:, 0],
        "without first": lambda w, v: v[:, 1:],
        "mean of rest": lambda w, v: v[:, 1:].mean(1),
    }
    return b.add(f"{form}{' and positions' if added else ''}", forms[form], x)


def image(b: Builder, x: int) -> int | None:
    """Tokens as a map again."""
    _, count, channels = b.shapes[x]
    height = b.divisor(count)
    if b.flag():
        return b.add(
            f"map of {height} rows", lambda w, v: v.reshape(-1, height, count // height, channels), x
        )
    return b.add(
        f"map of {height} rows from channels first",
        lambda w, v: v.swapaxes(1, 2).reshape(-1, channels, height, count // height).transpose(0, 2, 3, 1),
        x,
    )


def mixer(b: Builder, x: int) -> int | None:
    """A linear map over the tokens."""
    _, count, _ = b.shapes[x]
    width = b.integer(1, 6)
    kernel, bias = b.kernel(count, width), b.weight((width,), 0.3)
    form = b.one_of(["swapaxes", "einsum", "bias"])
    forms = {
        "swapaxes": lambda w, v: (v.swapaxes(1, 2) @ kernel(w) + bias(w)).swapaxes(1, 2),
        "einsum": lambda w, v: jnp.einsum("bnc,nm->bmc", v, kernel(w)),
        "bias": lambda w, v: jnp.einsum("bnc,nm->bmc", v, kernel(w)) + bias(w)[:, None],
    }
    return b.add(f"mix tokens to {width} by {form}", forms[form], x)


def gram(b: Builder, x: int) -> int | None:
    """A product of a value with itself: no side is constant."""
    form = b.one_of(["bnc,bmc->bnm", "bnc,bnd->bcd", "bnc,bnc->bn", "bnc,bmd->bnmcd"])
    if form.endswith("cd") and b.shapes[x][1] * b.shapes[x][2] > 60:
        return None
    size = np.sqrt(b.shapes[x][1])
    return b.add(f"einsum {form}", lambda w, v: jnp.einsum(form, v, jnp.tanh(v)) / size, x)
