"""What Mask R-CNN is to learn: the objects of a batch, and which of it each proposal stands for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int, Shaped

from hvjax.dense.assign import BACKGROUND, PROPOSALS, UNDECIDED, assign
from hvjax.dense.boxes import RESULT_SPREAD, encode, has_area, pairwise_iou, take
from hvjax.dense.sampling import Sample, sample

NAMES = ("boxes", "labels", "crowd", "masks", "size")  # of the entries of targets
IGNORED = ("image", "scale", "index")  # what else a batch of training holds


_FLAGS, _NUMBERS = (jnp.bool_, jnp.integer), (jnp.integer, jnp.floating)
_TYPES = {"boxes": _NUMBERS, "labels": (jnp.integer,), "crowd": _FLAGS, "masks": (jnp.bool_, *_NUMBERS)}
_WORDS = {"boxes": "numbers", "labels": "integers", "crowd": "flags", "masks": "flags or numbers"}


class Objects(NamedTuple):
    """The objects of each image, padded to one number.

    Attributes:
      boxes: x1 y1 x2 y2 in pixels of the padded image.
      labels: class of each, in [0, classes).
      masks: not 0 where the object is, inside its box, resampled to S x S.
      real: which of them are there to be learned.
    """

    boxes: Float[Array, "b m 4"]
    labels: Int[Array, "b m"]
    masks: Shaped[Array, "b m S S"]
    real: Bool[Array, "b m"]


def objects_of(targets: Mapping[str, Any], images: int, classes: int) -> Objects:
    """The objects in a batch of targets.

    What pads the list (label -1), crowds and empty boxes are no objects. Nor are they ignored: as in
    mmdetection's Mask R-CNN, a crowd is background.

    A label that the model has no class for is an error where labels are known. Under `jit` they are not:
    there such an object is not learned, and its place is background.

    Args:
      targets: "boxes" (b, m, 4), numbers, "labels" (b, m), integers, "masks" (b, m, S, S), not 0 where the
        object is (so 0 and 255 will do), and "crowd" (b, m), flags. "size" is left to the model, `IGNORED`
        are passed over.
      images: the b of the images that they are of.
      classes: of the model.

    Raises:
      ValueError: if one is missing, an entry has another name, their shapes do not fit together, their types
        are wrong, or (outside of `jit`) a label is `classes` or more.
    """
    names = NAMES[:-1]
    unknown = [str(name) for name in targets if name not in (*NAMES, *IGNORED)]
    if unknown:
        raise ValueError(f"targets have {', '.join(unknown)}: expected {', '.join((*NAMES, *IGNORED))}")
    missing = [name for name in names if name not in targets]
    if missing:
        raise ValueError(f"targets have no {', '.join(missing)}: expected {', '.join(names)}")
    boxes, labels, crowd, masks = (jnp.asarray(targets[name]) for name in names)
    b, m = labels.shape if labels.ndim == 2 else (images, 0)
    fits = m >= 1 and b == images and crowd.shape == (b, m) and boxes.shape == (b, m, 4)
    if not fits or masks.ndim != 4 or masks.shape[:2] != (b, m) or masks.shape[2] != masks.shape[3]:
        given = ", ".join(f"{name} {jnp.shape(targets[name])}" for name in names)
        raise ValueError(
            f"targets have shapes {given}: expected boxes ({images}, m, 4), labels and crowd ({images}, m), "
            f"masks ({images}, m, S, S), m at least 1"
        )
    for name, array in zip(names, (boxes, labels, crowd, masks), strict=True):
        if not any(jnp.issubdtype(array.dtype, kind) for kind in _TYPES[name]):
            raise ValueError(f"{name} of the targets have type {array.dtype}: expected {_WORDS[name]}")
    if not isinstance(labels, Tracer) and (labels >= classes).any():
        raise ValueError(
            f"targets have the label {int(labels.max())}: expected less than num_classes={classes}, or -1 "
            "for padding"
        )
    boxes = boxes.astype(jnp.float32)
    real = (labels >= 0) & (labels < classes) & ~crowd.astype(bool) & has_area(boxes)
    boxes = jnp.where(real[..., None], boxes, 0.0)  # the places of others are read, too
    return Objects(boxes, jnp.clip(labels.astype(jnp.int32), 0, classes - 1), masks, real)


class RoITargets(NamedTuple):
    """Sampled proposals and what they are to learn; places of objects come first.

    Attributes:
      boxes: the proposals.
      labels: class of each; `classes` stands for the background.
      moves: the numbers that move each onto its object (`boxes.encode`), in units of RESULT_SPREAD.
      owner: index of the object of each; 0 for background.
      sample: which places are of objects, and which hold anything.
    """

    boxes: Float[Array, "b s 4"]
    labels: Int[Array, "b s"]
    moves: Float[Array, "b s 4"]
    owner: Int[Array, "b s"]
    sample: Sample


def roi_targets(
    key: Array,
    proposals: Float[Array, "b p 4"],
    found: Bool[Array, "b p"],
    objects: Objects,
    classes: int,
    count: int,
    positives: int,
) -> RoITargets:
    """Draw proposals to learn from, and say what each is to learn.

    The boxes of the objects themselves are among those drawn from, so that there is something to learn before
    the proposals are any good.

    Args:
      key: for the draw.
      proposals: from the images; those that are not `found` are padding.
      found: which proposals there are.
      objects: of the images.
      classes: of the model.
      count, positives: as of `sampling.sample`.

    Raises:
      ValueError: unless 1 <= positives <= count.
    """
    boxes = lax.stop_gradient(jnp.concatenate([objects.boxes, proposals], axis=1))
    assigned = assign(pairwise_iou(proposals, objects.boxes), objects.real, found, PROPOSALS)
    own = jnp.where(objects.real, jnp.arange(objects.real.shape[1], dtype=jnp.int32), UNDECIDED)
    assigned = jnp.concatenate([own, assigned], axis=1)
    drawn = sample(key, assigned >= 0, assigned == BACKGROUND, count, positives)
    boxes = take(boxes, drawn.index)
    owner = jnp.where(drawn.positive, take(assigned, drawn.index), 0)
    labels = jnp.where(drawn.positive, take(objects.labels, owner), classes)
    moves = encode(boxes, take(objects.boxes, owner), RESULT_SPREAD)
    return RoITargets(boxes, labels, moves, owner, drawn)


def mask_targets(
    masks: Shaped[Array, "b p S S"],
    boxes: Float[Array, "b p 4"],
    rois: Float[Array, "b p 4"],
    cells: int,
) -> Bool[Array, "b p cells cells"]:
    """What the mask head is to draw: the mask of an object, seen through a box near it.

    A cell is on where at least half of it is covered, measured exactly, with each pixel of the mask a small
    square. Beyond the object's own box the mask is off.

    Args:
      masks: the mask inside `boxes`, not 0 where the object is.
      boxes: of the objects.
      rois: the boxes that are looked through.
      cells: per side of the result.
    """
    # float32, not the shortened products that accelerators take for it: the threshold would feel them
    covered = jnp.einsum(
        "bpys,bpst,bpxt->bpyx",
        _shares(rois[..., 1], rois[..., 3], boxes[..., 1], boxes[..., 3], cells, masks.shape[-2]),
        (masks > 0).astype(jnp.float32),
        _shares(rois[..., 0], rois[..., 2], boxes[..., 0], boxes[..., 2], cells, masks.shape[-1]),
        precision=lax.Precision.HIGHEST,
    )
    return covered >= 0.5


def _shares(
    first: Array, last: Array, start: Array, end: Array, cells: int, pixels: int
) -> Float[Array, "*n cells pixels"]:
    """Share of each cell between `first` and `last` that each pixel between `start` and `end` covers."""
    scale = pixels / jnp.maximum(end - start, np.float32(1e-3))
    low = ((first - start) * scale)[..., None]
    step = ((last - first) * scale)[..., None] / cells
    edges = low + step * np.arange(cells + 1, dtype=np.float32)
    pixel = np.arange(pixels, dtype=np.float32)
    shared = jnp.minimum(edges[..., 1:, None], pixel + 1) - jnp.maximum(edges[..., :-1, None], pixel)
    return jnp.maximum(shared, 0) / jnp.maximum(step[..., None], np.float32(1e-6))
