"""Mask R-CNN (He et al., arXiv 1703.06870) on a feature pyramid, as mmdetection's `MaskRCNN`.

Every shape is known beforehand: so many proposals, samples and detections, the rest of each list padding.
Boxes, scores and suppression are float32, whatever the type of the network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from hvjax.dense.boxes import take
from hvjax.dense.detections import Detections, detect
from hvjax.dense.fpn import FPN
from hvjax.dense.levels import FINEST_SIDE, roi_levels
from hvjax.dense.losses import Scalar, box_loss, class_loss, mask_loss
from hvjax.dense.mask_rcnn_config import MaskRCNNConfig
from hvjax.dense.roi_align import roi_align
from hvjax.dense.roi_heads import BoxHead, MaskHead
from hvjax.dense.rpn import Guesses, ProposalHead, proposal_losses, propose
from hvjax.dense.taps import DenseModel
from hvjax.dense.targets import NAMES, Objects, RoITargets, mask_targets, objects_of, roi_targets

FeatureMap = Float[Array, "b h w c"]

# The side up to which boxes are read from the finest level is written for levels that begin at stride 4.
FINEST_STRIDE = 4


class MaskRCNN(DenseModel):
    """Detector of objects and their masks; `config` is a `MaskRCNNConfig`.

    Results are float32, whatever the `dtype` of the computation. With `axis_name` the losses are those of the
    shard: only batch norms are taken over the axis.

    Parts: `backbone`, the pyramid `fpn` of its four maps and a fifth, `rpn`, `box_head`, `mask_head`.

    `apply(variables, images, sizes)` gives the objects of each image;
    `apply(variables, images, targets, train=True, method="losses", rngs={"sample": key, "dropout": key},
    mutable=["batch_stats"])` what training minimises the sum of.
    """

    config: MaskRCNNConfig

    def setup(self) -> None:
        super().setup()
        config, form = self.config, self.form
        c, classes = config.channels, config.num_classes
        self.fpn = FPN(c, len(self.strides) + 1, form)
        levels = (*self.strides, 2 * self.strides[-1])
        self.rpn = ProposalHead(c, levels, config.anchor_scale, config.anchor_ratios, form)
        self.box_head = BoxHead(c, config.box_cells, config.hidden, classes, form)
        self.mask_head = MaskHead(c, config.mask_convs, classes, form)

    def __call__(
        self, images: FeatureMap, sizes: Int[Array, "b 2"] | None = None, *, train: bool = False
    ) -> dict[str, Array]:
        """The objects of each image, best first.

        Args:
          images: canvases with the image at the top left, normalised.
          sizes: (height, width) of the image on each canvas, in pixels. None: it fills the canvas.
          train: of the backbone.

        Returns:
          "boxes" (b, n, 4) float32, x1 y1 x2 y2 in pixels of the canvas, "scores" (b, n) float32, "labels"
          (b, n) int32, and "masks" (b, n, s, s) float32, probabilities inside the box; n is
          `config.detections`, s twice `config.mask_cells`. Places without an object have the label -1, and
          zeros for the rest.

        Raises:
          ValueError: if the images or sizes have the wrong shape or type, or a size the backbone cannot take,
            or the maps of the backbone are not at the strides that its family has.
        """
        return _in_steps(self, images, sizes, train)[0]

    def steps(
        self, images: FeatureMap, sizes: Int[Array, "b 2"] | None = None
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """`(objects, steps)`: what `__call__` gives, and what leads to it.

        Steps: the maps of the pyramid, "pyramid1" the finest; what the proposal network says of each, (b, h,
        w, ...), "objectness1" and "anchor_moves1"; "proposals" (b, p, 4), "box_logits" (b, p, classes + 1),
        "box_moves" (b, p, classes, 4) and "mask_logits" (b, n, s, s), which mean nothing where there is no
        object.

        Raises:
          ValueError: as of `__call__`.
        """
        return _in_steps(self, images, sizes, train=False)

    def losses(
        self, images: FeatureMap, targets: Mapping[str, Any], *, train: bool = False
    ) -> dict[str, Scalar]:
        """The five losses, float32 scalars, each of weight 1 in what is trained.

        "rpn_objectness", "rpn_box", "box_class", "box_regression" and "mask".

        Args:
          images: canvases with the image at the top left, normalised.
          targets: "boxes" (b, m, 4), "labels" (b, m), -1 for padding, "crowd" (b, m), which are not learned,
            "masks" (b, m, S, S), 0 or not, each inside its box, and "size" (b, 2), (height, width) of the
            images; without it they fill their canvases. What else training has in a batch (`targets.IGNORED`)
            is passed over.
          train: of the backbone. Draws of anchors and proposals take the random numbers "sample".

        Raises:
          ValueError: if images or targets have the wrong shape or type, targets an entry of another name, or
            (outside of `jit`) a label that is no class of the model; if there are no random numbers; and as
            of `__call__`.
        """
        config = self.config
        if not isinstance(targets, Mapping):
            raise ValueError(f"targets are a {type(targets).__name__}: expected a mapping, {NAMES}")
        sizes = _checked_sizes(images, targets.get("size"))
        objects = objects_of(targets, images.shape[0], config.num_classes)
        if not self.has_rng("sample"):
            raise ValueError('losses draw anchors and proposals: pass rngs={"sample": key}')
        anchor_key, proposal_key = jax.random.split(self.make_rng("sample"))
        pyramid, guesses = self._look(images, sizes, train)
        losses = proposal_losses(anchor_key, guesses, objects, config.anchor_samples, config.anchor_positives)
        proposals, found = propose(
            guesses, sizes, config.train_candidates, config.proposal_overlap, config.proposals
        )
        drawn = roi_targets(
            proposal_key, proposals, found, objects, config.num_classes, config.samples, config.positives
        )
        return losses | self._box_losses(pyramid, drawn) | self._mask_losses(pyramid, drawn, objects)

    def _look(
        self, images: FeatureMap, sizes: Array, train: bool
    ) -> tuple[tuple[FeatureMap, ...], list[Guesses]]:
        """The pyramid, and what the proposal network says of its anchors."""
        maps = self.taps(images, train=train)
        _check_strides(images, maps, self.strides)
        pyramid = self.fpn(maps)
        return pyramid, self.rpn(pyramid, sizes)

    def _features(
        self, pyramid: tuple[FeatureMap, ...], boxes: Float[Array, "b n 4"], cells: int
    ) -> Float[Array, "b n cells cells c"]:
        """What lies under each box, read from the level of its size; the coarsest is for proposals alone."""
        strides = self.strides
        finest_side = FINEST_SIDE * strides[0] / FINEST_STRIDE
        levels = roi_levels(boxes, len(strides), finest_side)
        maps = pyramid[: len(strides)]
        return roi_align(maps, boxes, levels, cells, strides, sampling_ratio=self.config.sampling_ratio)

    def _masks(self, pyramid: tuple[FeatureMap, ...], objects: Detections) -> Float[Array, "b n s s"]:
        """Logits of the masks; anything where there is no object."""
        features = self._features(pyramid, objects.boxes, self.config.mask_cells)
        return self.mask_head(features, jnp.maximum(objects.labels, 0))

    def _box_losses(self, pyramid: tuple[FeatureMap, ...], drawn: RoITargets) -> dict[str, Scalar]:
        logits, moves = self.box_head(self._features(pyramid, drawn.boxes, self.config.box_cells))
        labels, (_, positive, taken) = drawn.labels, drawn.sample
        own = jnp.where(positive, labels, 0)[..., None, None]
        moves = jnp.take_along_axis(moves, own, axis=2)[..., 0, :]
        return {
            "box_class": class_loss(logits, labels, taken),
            "box_regression": box_loss(moves, drawn.moves, positive, taken),
        }

    def _mask_losses(
        self, pyramid: tuple[FeatureMap, ...], drawn: RoITargets, objects: Objects
    ) -> dict[str, Scalar]:
        cells = self.config.mask_cells
        places = slice(0, self.config.positives)  # no object is drawn into a later one
        boxes, labels, owner = (x[:, places] for x in (drawn.boxes, drawn.labels, drawn.owner))
        positive = drawn.sample.positive[:, places]
        logits = self.mask_head(self._features(pyramid, boxes, cells), jnp.where(positive, labels, 0))
        wanted = mask_targets(take(objects.masks, owner), take(objects.boxes, owner), boxes, 2 * cells)
        return {"mask": mask_loss(logits, wanted, positive)}


def _in_steps(
    model: MaskRCNN, images: FeatureMap, sizes: Int[Array, "b 2"] | None, train: bool
) -> tuple[dict[str, Array], dict[str, Array]]:
    """`MaskRCNN.steps`. No method, so that operations are named alike whoever asks."""
    config = model.config
    sizes = _checked_sizes(images, sizes)
    pyramid, guesses = model._look(images, sizes, train)
    proposals, found = propose(guesses, sizes, config.candidates, config.proposal_overlap, config.proposals)
    logits, moves = model.box_head(model._features(pyramid, proposals, config.box_cells))
    objects = detect(
        logits,
        moves,
        proposals,
        found,
        sizes,
        least_score=config.least_score,
        overlap=config.overlap,
        candidates=config.detection_candidates,
        count=config.detections,
    )
    steps = {f"pyramid{i}": level for i, level in enumerate(pyramid, start=1)}
    for i, (level, guess) in enumerate(zip(pyramid, guesses, strict=True), start=1):
        steps[f"objectness{i}"] = guess.objectness.reshape(*level.shape[:3], -1)
        steps[f"anchor_moves{i}"] = guess.moves.reshape(*level.shape[:3], -1)
    steps |= {"proposals": proposals, "box_logits": logits, "box_moves": moves}
    steps["mask_logits"] = model._masks(pyramid, objects)
    real = objects.labels >= 0
    masks = jnp.where(real[..., None, None], jax.nn.sigmoid(steps["mask_logits"]), 0.0)
    return {**objects._asdict(), "masks": masks}, steps


def _check_strides(images: FeatureMap, maps: Sequence[FeatureMap], strides: Sequence[int]) -> None:
    """Raise ValueError unless each map is as large as its stride says, to which anchors are laid out."""
    for i, (x, stride) in enumerate(zip(maps, strides, strict=True), start=1):
        for side, cells in zip(images.shape[1:3], x.shape[1:3], strict=True):
            if not side // stride <= cells <= -(-side // stride):  # families round up or down
                raise ValueError(
                    f"stage{i} of the backbone is {x.shape[1]}x{x.shape[2]} for images of "
                    f"{images.shape[1]}x{images.shape[2]}: mask_rcnn expects stride {stride} there, as its "
                    "family is published"
                )


def _checked_sizes(images: Array, sizes: Any) -> Int[Array, "b 2"]:
    """(height, width) of each image, those of the canvas if not given.

    Raises:
      ValueError: if they are no integers, two an image.
    """
    if getattr(images, "ndim", 0) != 4:
        raise ValueError(f"images have shape {jnp.shape(images)}: expected (batch, height, width, channels)")
    b, height, width = images.shape[:3]
    if sizes is None:
        return jnp.broadcast_to(jnp.array([height, width], jnp.int32), (b, 2))
    sizes = jnp.asarray(sizes)
    if sizes.shape != (b, 2) or not jnp.issubdtype(sizes.dtype, jnp.integer):
        raise ValueError(
            f"sizes have shape {sizes.shape} and type {sizes.dtype}: expected integers (height, width) for "
            f"each of {b} images"
        )
    return sizes.astype(jnp.int32)
