"""Non-maximum suppression with static shapes: of boxes that overlap, the one with the highest score stays.

The result is that of the greedy algorithm (a box stays unless one that stayed before it overlaps it), found
as the fixed point of "a box stays unless a better one that stays overlaps it". The relation has no circles,
so the fixed point is unique; the box at the end of a chain of k boxes, each better than the next and
overlapping it, is settled after k rounds. 1,000 boxes drawn around 15 objects take 2 to 9, that many strewn
densely 10. A round is a product of a vector with a matrix of zeros and ones: no loop over boxes, and all
images of a batch at once.

A round after the last one changes nothing, so an exported graph may hold a fixed number of them
(`loop_rounds` of `export.convert`). Where that number is too small for a chain, its last boxes are wrong: by
turns with each round, too many stay or too few.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from hvjax.dense.boxes import areas, intersections

# Score of what did not stay, below every real one; finite, since a graph may hold it in the place of a score.
LOWEST = float(np.finfo(np.float32).min)


def suppress(
    boxes: Float[Array, "*b n 4"],
    scores: Float[Array, "*b n"],
    threshold: float,
    *,
    valid: Bool[Array, "*b n"] | None = None,
    groups: Int[Array, "*#b n"] | None = None,
) -> Bool[Array, "*b n"]:
    """Say which boxes stay.

    Args:
      boxes: x1 y1 x2 y2, computed with in float32, in any order.
      scores: the higher one stays; of equal ones the first.
      threshold: boxes whose intersection over union is larger do not stay together; in [0, 1].
      valid: false for what pads the list: it neither stays nor removes others. None: all are real.
      groups: only boxes of one group (class, level) remove each other. Compared, where others move the boxes
        of each group apart by thousands of pixels and so lose the last bits of their places. None: one group.

    Returns:
      flags in the order of the boxes. No gradient flows through them.

    Raises:
      ValueError: if the threshold is not in [0, 1].
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold={threshold}: expected an overlap from 0 to 1")
    boxes, scores = (lax.stop_gradient(x.astype(jnp.float32)) for x in (boxes, scores))
    conflicts = _conflicts(boxes, scores, threshold, groups).astype(jnp.float32)
    start = jnp.ones(scores.shape, bool) if valid is None else valid

    def refine(stays: Array) -> Array:
        better = jnp.matmul(stays.astype(jnp.float32)[..., None, :], conflicts)[..., 0, :]
        return start & (better < 0.5)

    def step(state: tuple[Array, Array]) -> tuple[Array, Array]:
        after = refine(state[0])
        return after, jnp.any(after != state[0])

    return lax.while_loop(lambda state: state[1], step, (start, jnp.array(True)))[0]


def nms(
    boxes: Float[Array, "*b n 4"],
    scores: Float[Array, "*b n"],
    threshold: float,
    count: int,
    *,
    valid: Bool[Array, "*b n"] | None = None,
    groups: Int[Array, "*#b n"] | None = None,
) -> tuple[Int[Array, "*b count"], Bool[Array, "*b count"]]:
    """Return the `count` best boxes that stay: `(indices, found)`, best first, of equal scores the first.

    Arguments as in `suppress`; scores must be finite. Where fewer boxes stay, `found` is false at the end and
    the index is one of a box that did not stay, or 0: always one that `take` may read.

    Raises:
      ValueError: if the threshold is not in [0, 1] or the count is below 1.
    """
    if count < 1:
        raise ValueError(f"count={count}: expected at least 1")
    stays = suppress(boxes, scores, threshold, valid=valid, groups=groups)
    ranked = jnp.where(stays, lax.stop_gradient(scores.astype(jnp.float32)), LOWEST)
    given = scores.shape[-1]
    best, indices = lax.top_k(ranked, min(count, given))
    found = best > LOWEST
    if count > given:
        missing = [(0, 0)] * (scores.ndim - 1) + [(0, count - given)]
        indices, found = jnp.pad(indices, missing), jnp.pad(found, missing)
    return indices, found


def _conflicts(boxes: Array, scores: Array, threshold: float, groups: Array | None) -> Array:
    """Whether box i removes box j if it stays: [..., i, j]."""
    place = np.arange(scores.shape[-1])
    one, other = scores[..., :, None], scores[..., None, :]
    better = (one > other) | ((one == other) & (place[:, None] < place[None, :]))
    shared, area = intersections(boxes, boxes), areas(boxes)
    # compared as a product: empty boxes divide by nothing
    overlap = shared > threshold * (area[..., :, None] + area[..., None, :] - shared)
    conflicts = better & overlap
    return conflicts if groups is None else conflicts & (groups[..., :, None] == groups[..., None, :])
