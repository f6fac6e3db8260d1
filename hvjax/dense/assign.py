"""Which object a box is to learn: the one that it overlaps most, if it overlaps it enough.

Ren et al., arXiv 1506.01497, section 3.1.2, with the rules of mmdetection's MaxIoUAssigner.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

BACKGROUND = -1
UNDECIDED = -2  # neither object nor background: learns nothing

# Overlaps this close to the highest are the highest. A compiler may compute the same overlap twice, once for
# the maximum and once to compare with it, and round differently.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Thresholds:
    """Intersections over union that decide.

    Attributes:
      object: a box with at least this is of the object that it overlaps most.
      background: a box that overlaps no object by as much is background; between the two it is undecided.
      closest: each object also gets the boxes that overlap it most, if by at least this, even where they
        overlap another one more. None: no such boxes.
    """

    object: float
    background: float
    closest: float | None = None


# Of anchors to objects, and of proposals to objects (mmdetection's Mask R-CNN).
ANCHORS = Thresholds(object=0.7, background=0.3, closest=0.3)
PROPOSALS = Thresholds(object=0.5, background=0.5, closest=0.5)


def assign(
    overlaps: Float[Array, "*b n m"],
    real: Bool[Array, "*b m"],
    usable: Bool[Array, "*b n"],
    thresholds: Thresholds,
) -> Int[Array, "*b n"]:
    """Object of each box: its index, BACKGROUND or UNDECIDED.

    Args:
      overlaps: intersection over union of each box with each object.
      real: which objects are not padding; where none is, all usable boxes are background.
      usable: which boxes may learn; the others are UNDECIDED, and are nobody's closest.
      thresholds: what decides.

    Of objects that are overlapped equally the first is taken; of those that a box is closest to, the last.
    """
    overlaps = jnp.where(usable[..., :, None] & real[..., None, :], overlaps, -1.0)
    best, owner = overlaps.max(axis=-1), overlaps.argmax(axis=-1).astype(jnp.int32)
    assigned = jnp.where(best < thresholds.background, BACKGROUND, UNDECIDED)
    assigned = jnp.where(best >= thresholds.object, owner, assigned)
    if thresholds.closest is not None:
        most = overlaps.max(axis=-2, keepdims=True)
        closest = (overlaps >= most * (1 - _ROUNDING)) & (most >= thresholds.closest)
        index = jnp.arange(overlaps.shape[-1], dtype=jnp.int32)
        last = jnp.where(closest, index, -1).max(axis=-1)
        assigned = jnp.where(last >= 0, last, assigned)
    return jnp.where(usable, assigned, UNDECIDED)
