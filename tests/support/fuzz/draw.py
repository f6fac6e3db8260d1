"""The strategy: a network of a few operations on images, tokens or vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from hypothesis import strategies as st
from jax import lax

from fuzz import blocks, images, moves, pointwise, sequences
from fuzz.network import Builder, Network

Operation = Callable[[Builder, int], int | None]
ANY: tuple[Operation, ...] = (
    *(pointwise.activation, pointwise.activation, pointwise.affine, pointwise.dense, pointwise.layer_norm),
    *(pointwise.softmax, pointwise.reduce, pointwise.excite),
    *(moves.transpose, moves.reshape, moves.slice_, moves.pad, moves.roll, moves.repeat, moves.split),
    *(moves.scatter, moves.along, moves.residual, moves.residual, moves.join, moves.loop),
)
MAPS: tuple[Operation, ...] = (
    *(images.convolution,) * 4,
    *(images.transposed_convolution, images.pool, images.pool, images.resize, images.normalise),
    *(images.normalise, images.squeeze, images.shuffle, images.positions, images.tokens, images.tokens),
    *(images.windows, *(blocks.on_map,) * 5),
)
TOKENS: tuple[Operation, ...] = (
    *(sequences.attention,) * 4,
    *(sequences.flax_attention, sequences.class_token, sequences.class_token, sequences.image),
    *(sequences.image, sequences.mixer, sequences.gram, *(blocks.on_tokens,) * 4),
)
#: How a network may end; these are compared where rounding does not decide them.
ENDS: dict[str, Callable[[Any, Any], Any]] = {
    "argmax": lambda w, v: jnp.argmax(v, -1),
    "top_k": lambda w, v: lax.top_k(v, min(3, v.shape[-1]))[0],
    "top_k indices": lambda w, v: lax.top_k(v, min(3, v.shape[-1]))[1],
    "argmin": lambda w, v: jnp.argmin(v.reshape(v.shape[0], -1), -1),
    "greater": lambda w, v: v > 0.1,
    "floor": lambda w, v: jnp.floor(3 * v),
    "round": lambda w, v: jnp.round(2 * v),
    "integer": lambda w, v: (4 * v).astype(jnp.int32),
}


@st.composite
def networks(draw: Callable[[st.SearchStrategy[Any]], Any], most: int = 7, half: bool = False) -> Network:
    """Networks of up to `most` steps. `half`: without ends that rounding turns over."""
    rank = draw(st.sampled_from([4, 4, 4, 4, 3, 3, 2]))
    sides = [draw(st.integers(2, 10)) for _ in range(min(rank, 3) - 1)]
    if rank == 4:
        sides = [sides[0], draw(st.one_of(st.just(sides[0]), st.integers(2, 10))), draw(st.integers(1, 8))]
    dynamic = draw(st.booleans())
    batch = 1 if dynamic else draw(st.integers(1, 3))
    layout = draw(st.sampled_from(["nhwc", "nchw"])) if rank == 4 else "nhwc"
    network = Network((batch, *sides), dynamic, layout, draw(st.integers(0, 999)))
    builder, last = Builder(draw, network), 0
    for _ in range(draw(st.integers(1, most))):
        special = {4: MAPS, 3: TOKENS}.get(len(builder.shapes[last]), ())
        operations = special if special and draw(st.integers(0, 9)) < 6 else ANY
        made = draw(st.sampled_from(operations))(builder, last)
        last = last if made is None else made
    outputs = [last]
    if not half and draw(st.integers(0, 5)) == 0 and len(builder.shapes[last]) > 1:
        end = draw(st.sampled_from(sorted(ENDS)))
        outputs.append(builder.end(end, ENDS[end], last))
    if len(builder.shapes) > 2 and draw(st.integers(0, 4)) == 0:
        middle = draw(st.integers(1, len(builder.shapes) - 1))
        outputs += [middle] if middle not in outputs else []
    network.outputs = tuple(outputs)
    return network
