"""The region proposal network: where something may be (Ren et al., arXiv 1506.01497, section 3.1).

One small head slides over all levels of a feature pyramid (Lin et al., arXiv 1612.03144, section 4.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from hvjax.blocks.form import Form, wide
from hvjax.blocks.initializers import normal
from hvjax.blocks.layers import Conv
from hvjax.dense.anchors import RATIOS, SCALE, anchors_on_images, pyramid_anchors
from hvjax.dense.assign import ANCHORS, BACKGROUND, assign
from hvjax.dense.boxes import clip, decode, encode, has_area, pairwise_iou, take
from hvjax.dense.losses import Scalar, box_loss, objectness_loss
from hvjax.dense.nms import LOWEST, suppress
from hvjax.dense.sampling import sample
from hvjax.dense.targets import Objects

START = normal(0.01)  # of the three convolutions, as in mmdetection's RPNHead


class Guesses(NamedTuple):
    """What the head says of the anchors of one level; float32.

    Attributes:
      anchors: boxes in pixels of the padded image.
      inside: which belong to a cell that the real image reaches; the others are never used.
      objectness: logits of "an object is here".
      moves: the numbers that move each anchor onto it (`boxes.decode`).
    """

    anchors: Float[np.ndarray, "n 4"]
    inside: Bool[Array, "b n"]
    objectness: Float[Array, "b n"]
    moves: Float[Array, "b n 4"]


class ProposalHead(nn.Module):
    """3x3 convolution and ReLU, then an objectness and a box for each anchor of each cell.

    Attributes:
      channels: of the pyramid, and inside.
      strides: pixels of the image per cell of each level.
      scale, ratios: of the anchors (`anchors.cell_anchors`).
    """

    channels: int
    strides: tuple[int, ...]
    scale: float = SCALE
    ratios: tuple[float, ...] = RATIOS
    form: Form = Form()

    def setup(self) -> None:
        c, form = self.channels, self.form
        self.conv = Conv(c, c, 3, 1, 1, form=form, kernel_init=START)
        last = wide(form)  # scores and boxes are not rounded to half precision
        self.objectness = Conv(c, len(self.ratios), form=last, kernel_init=START)
        self.moves = Conv(c, 4 * len(self.ratios), form=last, kernel_init=START)

    def __call__(
        self, pyramid: Sequence[Float[Array, "b _h _w c"]], sizes: Int[Array, "b 2"]
    ) -> list[Guesses]:
        """What it says of each level, finest first.

        Args:
          pyramid: maps of one image batch, NHWC, one for each of `strides`.
          sizes: (height, width) of the real images at the top left of their canvases, in pixels.

        Raises:
          ValueError: if there are not as many maps as strides, or the anchors are no boxes.
        """
        shapes = [(level.shape[1], level.shape[2]) for level in pyramid]
        anchors = pyramid_anchors(shapes, self.strides, self.scale, self.ratios)
        inside = anchors_on_images(shapes, self.strides, sizes, len(self.ratios))
        out = []
        for level, boxes, flags in zip(pyramid, anchors, inside, strict=True):
            x = jax.nn.relu(self.conv(level))
            objectness = self.objectness(x).astype(jnp.float32).reshape(x.shape[0], -1)
            moves = self.moves(x).astype(jnp.float32).reshape(x.shape[0], -1, 4)
            out.append(Guesses(boxes, flags, objectness, moves))
        return out


def propose(
    guesses: Sequence[Guesses],
    sizes: Int[Array, "b 2"],
    candidates: int,
    overlap: float,
    count: int,
) -> tuple[Float[Array, "b p 4"], Bool[Array, "b p"]]:
    """The boxes that are most likely to hold an object: `(boxes, found)`, best first, zeros where not found.

    Args:
      guesses: of each level.
      sizes: (height, width) of the real images; boxes end there.
      candidates: the best so many of each level are looked at.
      overlap: of boxes of one level that overlap more, the better one stays.
      count: of all levels together, p; if there are fewer candidates on all levels, p is their number.

    No gradient flows through the boxes.

    Raises:
      ValueError: if `overlap` is not in [0, 1].
    """
    boxes, scores = [], []
    for guess in guesses:
        ranked = jnp.where(guess.inside, lax.stop_gradient(guess.objectness), LOWEST)
        best, index = lax.top_k(ranked, min(candidates, ranked.shape[-1]))
        moved = clip(decode(jnp.asarray(guess.anchors), lax.stop_gradient(guess.moves)), sizes)
        moved = take(moved, index)
        stays = suppress(moved, best, overlap, valid=(best > LOWEST) & has_area(moved))
        boxes.append(moved)
        scores.append(jnp.where(stays, best, LOWEST))
    merged = jnp.concatenate(scores, axis=1)
    best, index = lax.top_k(merged, min(count, merged.shape[-1]))
    found = best > LOWEST
    chosen = take(jnp.concatenate(boxes, axis=1), index)
    return jnp.where(found[..., None], chosen, 0.0), found


def proposal_losses(
    key: Array, guesses: Sequence[Guesses], objects: Objects, count: int, positives: int
) -> dict[str, Scalar]:
    """Losses "rpn_objectness" and "rpn_box" over anchors of all levels, drawn with `key`.

    Args:
      key: for the draw.
      guesses: of each level.
      objects: of the images.
      count, positives: anchors that are drawn from each image, and those of objects at most.

    Raises:
      ValueError: unless 1 <= positives <= count.
    """
    anchors = jnp.asarray(np.concatenate([guess.anchors for guess in guesses]))
    inside, objectness, moves = (
        jnp.concatenate([getattr(guess, name) for guess in guesses], axis=1)
        for name in ("inside", "objectness", "moves")
    )
    assigned = assign(pairwise_iou(anchors, objects.boxes), objects.real, inside, ANCHORS)
    drawn = sample(key, assigned >= 0, assigned == BACKGROUND, count, positives)
    owner = jnp.maximum(take(assigned, drawn.index), 0)
    wanted = encode(anchors[drawn.index], take(objects.boxes, owner))
    return {
        "rpn_objectness": objectness_loss(take(objectness, drawn.index), drawn.positive, drawn.taken),
        "rpn_box": box_loss(take(moves, drawn.index), wanted, drawn.positive, drawn.taken),
    }
