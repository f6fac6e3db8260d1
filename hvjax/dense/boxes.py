"""Boxes: areas and overlaps, and the four numbers that move one box onto another.

A box is (x1, y1, x2, y2) in pixels of the (padded) image: x to the right, y down, the pixel in row 0 and
column 0 covers (0, 0, 1, 1). Width is x2 - x1; a box without a positive width and height is empty. Whatever
the type of the model, boxes are float32: half precision has steps of half a pixel at 1,000.

Moves are those of R-CNN (Girshick et al., arXiv 1311.2524, appendix C), in the units of mmdetection's
DeltaXYWHBBoxCoder.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

Four = tuple[float, float, float, float]

# Standard deviations of the four numbers, which the heads learn in units of: of proposals from anchors, and
# of results from proposals.
PROPOSAL_SPREAD: Four = (1.0, 1.0, 1.0, 1.0)
RESULT_SPREAD: Four = (0.1, 0.1, 0.2, 0.2)

# A side grows or shrinks by at most this factor: what a head says at its first steps must not overflow.
LARGEST_GROWTH = 1000 / 16

# Sides of empty boxes, in pixels, where a logarithm or a division needs one: what pads a list stays finite.
LEAST_SIDE = 1e-3


def sides(boxes: Float[Array, "*n 4"]) -> tuple[Float[Array, "*n"], Float[Array, "*n"]]:
    """Width and height; 0 where a box ends before it begins."""
    boxes = boxes.astype(jnp.float32)
    width = jnp.maximum(boxes[..., 2] - boxes[..., 0], 0)
    height = jnp.maximum(boxes[..., 3] - boxes[..., 1], 0)
    return width, height


def areas(boxes: Float[Array, "*n 4"]) -> Float[Array, "*n"]:
    """Width times height, in square pixels; 0 for empty boxes."""
    width, height = sides(boxes)
    return width * height


def has_area(boxes: Float[Array, "*n 4"], least_side: float = 0.0) -> Bool[Array, "*n"]:
    """Whether both sides are longer than `least_side` pixels. False for the zeros that pad a list."""
    width, height = sides(boxes)
    return (width > least_side) & (height > least_side)


def intersections(first: Float[Array, "*#b m 4"], second: Float[Array, "*#b n 4"]) -> Float[Array, "*b m n"]:
    """Area that each box of `first` shares with each of `second`. Axes before the last two broadcast."""
    a = first.astype(jnp.float32)[..., :, None, :]
    b = second.astype(jnp.float32)[..., None, :, :]
    width = jnp.minimum(a[..., 2], b[..., 2]) - jnp.maximum(a[..., 0], b[..., 0])
    height = jnp.minimum(a[..., 3], b[..., 3]) - jnp.maximum(a[..., 1], b[..., 1])
    return jnp.maximum(width, 0) * jnp.maximum(height, 0)


def unions(first: Float[Array, "*#b m 4"], second: Float[Array, "*#b n 4"]) -> Float[Array, "*b m n"]:
    """Area that each box of `first` covers together with each of `second`; broadcasts as `intersections`."""
    total = areas(first)[..., :, None] + areas(second)[..., None, :]
    return total - intersections(first, second)


def pairwise_iou(first: Float[Array, "*#b m 4"], second: Float[Array, "*#b n 4"]) -> Float[Array, "*b m n"]:
    """Intersection over union, in [0, 1]; 0 where both boxes are empty.

    Broadcasts as `intersections`: (m, 4) is compared with each image of (b, n, 4).
    """
    union = unions(first, second)
    return intersections(first, second) / jnp.where(union > 0, union, 1)


def pairwise_cover(first: Float[Array, "*#b m 4"], second: Float[Array, "*#b n 4"]) -> Float[Array, "*b m n"]:
    """The part of each box of `first` that lies in each of `second`, in [0, 1]; 0 for empty boxes.

    This is how COCO compares with crowds: a small box in a large crowd is wholly covered.
    """
    area = areas(first)[..., :, None]
    return intersections(first, second) / jnp.where(area > 0, area, 1)


def encode(
    anchors: Float[Array, "*n 4"], targets: Float[Array, "*n 4"], spread: Four = PROPOSAL_SPREAD
) -> Float[Array, "*n 4"]:
    """The numbers (dx, dy, dw, dh) by which `decode` moves `anchors` onto `targets`.

    dx and dy are the way between the centres in widths and heights of the anchor, dw and dh the logarithms of
    the ratios of the sides, all divided by `spread`. Finite for empty boxes too, where it means nothing.
    """
    ax, ay, aw, ah = _centres(anchors, LEAST_SIDE)
    tx, ty, tw, th = _centres(targets, LEAST_SIDE)
    moves = jnp.stack([(tx - ax) / aw, (ty - ay) / ah, jnp.log(tw / aw), jnp.log(th / ah)], axis=-1)
    return moves / np.array(spread, np.float32)


def decode(
    anchors: Float[Array, "*#n 4"], moves: Float[Array, "*#n 4"], spread: Four = PROPOSAL_SPREAD
) -> Float[Array, "*#n 4"]:
    """Boxes that lie where `moves` say, seen from `anchors`; inverse of `encode`.

    No side grows or shrinks by more than LARGEST_GROWTH. The results are not clipped to the image (`clip`).
    Anchors and moves broadcast: (b, n, 1, 4) and (b, n, classes, 4) give a box per class.
    """
    ax, ay, aw, ah = _centres(anchors, 0.0)
    moves = moves.astype(jnp.float32) * np.array(spread, np.float32)
    most = math.log(LARGEST_GROWTH)
    growth = jnp.exp(jnp.clip(moves[..., 2:], -most, most))
    x, y = ax + aw * moves[..., 0], ay + ah * moves[..., 1]
    half_width, half_height = 0.5 * aw * growth[..., 0], 0.5 * ah * growth[..., 1]
    return jnp.stack([x - half_width, y - half_height, x + half_width, y + half_height], axis=-1)


def clip(boxes: Float[Array, "b *n 4"], sizes: Int[Array, "b 2"]) -> Float[Array, "b *n 4"]:
    """Move what lies outside of the image onto its border. `sizes`: (height, width) of each, in pixels."""
    height, width = sizes[:, 0], sizes[:, 1]
    border = jnp.stack([width, height, width, height], axis=-1).astype(boxes.dtype)
    border = border.reshape(border.shape[0], *(1,) * (boxes.ndim - 2), 4)
    return jnp.minimum(jnp.maximum(boxes, 0), border)


def take(values: Shaped[Array, "b n *rest"], indices: Int[Array, "b k"]) -> Shaped[Array, "b k *rest"]:
    """`values[i, indices[i]]` for each image i: boxes, scores or labels of those that were chosen.

    The indices must lie in [0, n). One batched gather, so images on several devices stay where they are.
    """
    return jax.vmap(rows)(values, indices)


def rows(values: Shaped[Array, "n *rest"], indices: Int[Array, "*k"]) -> Shaped[Array, "*k *rest"]:
    """`values[indices]`, as one plain gather. The indices must lie in [0, n)."""
    return values.at[indices].get(mode="promise_in_bounds", wrap_negative_indices=False)


def _centres(boxes: Array, least: float) -> tuple[Array, Array, Array, Array]:
    """Centre (x, y), width and height, in float32."""
    boxes = boxes.astype(jnp.float32)
    x, y = (boxes[..., 0] + boxes[..., 2]) * 0.5, (boxes[..., 1] + boxes[..., 3]) * 0.5
    width, height = boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]
    if least:
        width, height = jnp.maximum(width, least), jnp.maximum(height, least)
    return x, y, width, height
