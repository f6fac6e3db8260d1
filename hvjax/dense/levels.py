"""Which level of a feature pyramid a box is read from (Lin et al., arXiv 1612.03144, section 4.2)."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from hvjax.dense.boxes import areas

# Boxes whose area is below that of a square with twice this side are read from the finest map (mmdetection's
# finest_scale); the side doubles with each level.
FINEST_SIDE = 56.0

# mmdetection adds it before the logarithm, so that a square of exactly 112 pixels is not left to rounding.
_NUDGE = 1e-6


def roi_levels(
    boxes: Float[Array, "*n 4"], count: int = 4, finest_side: float = FINEST_SIDE
) -> Int[Array, "*n"]:
    """Level of each box, 0 the finest: floor(log2(sqrt(area) / finest_side)), held within [0, count).

    Boxes and `finest_side` are in pixels of the image; empty boxes are on level 0. Counted by comparisons,
    not by a logarithm, whose last bit decides at the borders and differs between runtimes.

    Raises:
      ValueError: if there is no level, or the side is not positive.
    """
    if count < 1 or finest_side <= 0:
        raise ValueError(f"count={count}, finest_side={finest_side}: expected 1 or more, and a positive side")
    side = jnp.sqrt(areas(boxes)) / finest_side + _NUDGE
    level = jnp.zeros(side.shape, jnp.int32)
    for finer in range(1, count):
        level += (side >= 2.0**finer).astype(jnp.int32)
    return level
