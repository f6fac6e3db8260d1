"""From what the box head says of the proposals to the list of objects of an image."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from hvjax.dense.boxes import RESULT_SPREAD, clip, decode, has_area, take
from hvjax.dense.nms import nms

NOTHING = -1  # label of places that stay empty


class Detections(NamedTuple):
    """Objects of each image, best first; zeros, and the label NOTHING, where there are no more.

    Attributes:
      boxes: x1 y1 x2 y2 in pixels of the padded image.
      scores: probability of the class.
      labels: in [0, classes), or NOTHING.
    """

    boxes: Float[Array, "b n 4"]
    scores: Float[Array, "b n"]
    labels: Int[Array, "b n"]


def detect(
    logits: Float[Array, "b p classes+1"],
    moves: Float[Array, "b p classes 4"],
    proposals: Float[Array, "b p 4"],
    found: Bool[Array, "b p"],
    sizes: Int[Array, "b 2"],
    *,
    least_score: float,
    overlap: float,
    candidates: int,
    count: int,
) -> Detections:
    """Choose boxes and classes: a proposal may become an object of several classes.

    Args:
      logits, moves: of the box head.
      proposals: the boxes that it looked at.
      found: which of them are not padding.
      sizes: (height, width) of the real images; boxes end there.
      least_score: what is not more probable is dropped.
      overlap: of boxes of one class that overlap more, the better one stays.
      candidates: the best so many pairs of proposal and class are compared. As suppression goes from the best
        down, more could only add to the end of a list with room for them.
      count: places of the result, n.

    Raises:
      ValueError: if `overlap` is not in [0, 1] or `count` is below 1.
    """
    b, p, classes = moves.shape[:3]
    scores = jax.nn.softmax(logits.astype(jnp.float32), axis=-1)[..., :-1]
    scores = jnp.where(found[..., None], scores, 0.0).reshape(b, p * classes)
    best, index = lax.top_k(scores, min(candidates, p * classes))
    proposal = lax.div(index, jnp.full_like(index, classes))
    labels = index - proposal * classes
    boxes = decode(take(proposals, proposal), take(moves.reshape(b, -1, 4), index), RESULT_SPREAD)
    boxes = clip(boxes, sizes)
    valid = (best > least_score) & has_area(boxes)
    order, kept = nms(boxes, best, overlap, count, valid=valid, groups=labels)
    return Detections(
        jnp.where(kept[..., None], take(boxes, order), 0.0),
        jnp.where(kept, take(best, order), 0.0),
        jnp.where(kept, take(labels, order), NOTHING),
    )
