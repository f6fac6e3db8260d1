"""A detector's file step by step: every step computed by the file from what JAX answers at the one before.

Which boxes become proposals, and which of them stay, is decided by comparisons. Where two are as good,
rounding decides, and what comes behind is of another box. Between the decisions there are functions of maps
and boxes, whose errors tell right from wrong as those of a classifier do:

    image                             -->  stages, pyramid, objectness, moves of anchors
    pyramid, JAX's proposals          -->  logits and moves of boxes
    pyramid, JAX's boxes and labels   -->  logits of masks

So JAX's proposals, boxes and labels are written into a copy of the file in the place of its own (the pyramid
stays the file's: errors of maps add up): teacher forcing (R. J. Williams, D. Zipser, "A learning algorithm
for continually running fully recurrent neural networks", 1989). Nothing of the file's names is assumed:
tensors are known by their numbers, as in `stages.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from export._optional import require
from export.answers import DEPLOY_FORM, Reference
from export.pairing import overlaps
from export.parity import BF16_LIMIT, FP16_LIMIT, Comparison, Difference, difference
from export.stages import PRESENT, stage_errors, tensor_shapes
from export.taps import in_groups, tapped

#: Twice the limits of maps: the proposal network and the heads come after the backbone. A small detector
#: trained for two minutes differs by 1.5e-3 in float16 and 1.1e-2 in bfloat16, most in its stages (its heads
#: by 4e-4 and 4e-3). A kernel behind the backbone that is 10 % off costs 8e-2 or more.
TRAINED_LIMITS = {"tf32": 2 * FP16_LIMIT, "fp16": 2 * FP16_LIMIT, "bf16": 2 * BF16_LIMIT}
#: With random weights: Next-ViT-S at 256 pixels differs by 3.6e-3 in float16 and 3.7e-2 in bfloat16, a ResNet
#: of 8 to 16 channels by 5.8e-3 and 4.0e-2. A kernel that is 10 % off costs 4.6e-2 or more there.
LIMITS = {precision: 2 * limit for precision, limit in TRAINED_LIMITS.items()}
#: Boxes that are the proposals overlap JAX's by this much on average, in any order. In half precision others
#: may be chosen where many are as good; boxes that are something else overlap far less.
SAME_PROPOSALS = 0.6
#: Maps before the first decision, and heads behind it, in the order of the network.
MAPS = ("pyramid", "objectness", "anchor_moves")
HEADS: tuple[str, ...] = ("box_logits", "box_moves", "mask_logits")
PROPOSALS = "proposals"
_COMPUTED = "/computed"
_NOTHING = Difference(np.inf, np.inf, np.inf, -1.0, None)


def limit_of(precision: str, *, trained: bool) -> float:
    """What a step in `precision`, or in "tf32", may differ by, relative to its largest value."""
    return (TRAINED_LIMITS if trained else LIMITS)[precision]


def compare(
    model: bytes, images: np.ndarray, reference: Reference, *, candidate: str, limit: float
) -> list[Comparison]:
    """A line of the gate for every step of `model`, a copy of the file that rounds as it does.

    Args:
      images: as many as `reference` is of, or more, in the layout of the file's input.
      limit: as `limit_of` gives it.
    """
    steps = Steps(images, reference)
    return [
        Comparison(candidate, DEPLOY_FORM, name, steps.count, steps.count, limit, False, found)
        for name, found in steps.differences(model).items()
    ]


class Steps:
    """The steps of one file on one batch, and of copies of it whose tensors have the same names: those found
    in one are looked at first in the next. (Files of other precisions may give a name to another tensor.)

    Args:
      images: as of `compare`.
    """

    def __init__(self, images: np.ndarray, reference: Reference) -> None:
        self.count = len(next(iter(reference.features.values())))
        self.images = images[: self.count]
        steps, answers = reference.steps, reference.others[DEPLOY_FORM]
        maps = {name: steps[name] for kind in MAPS for name in sorted(steps) if name.startswith(kind)}
        self._maps = {**reference.features, **maps}
        self._heads = {name: steps[name] for name in HEADS}
        self._given = {PROPOSALS: steps[PROPOSALS], "boxes": answers["boxes"], "labels": answers["labels"]}
        self._given = {name: value[: self.count] for name, value in self._given.items()}
        self._known_maps: frozenset[str] = frozenset()
        self._known_heads: frozenset[str] = frozenset()
        self._places: dict[str, np.ndarray] = {}

    def differences(self, model: bytes) -> dict[str, Difference]:
        """By step, in the order of the network; infinite for one that is not in the file."""
        loaded = require("onnx").load_model_from_string(model)
        made = {name for node in loaded.graph.node for name in node.output}
        known = self._known_maps if self._known_maps <= made else None
        errors = stage_errors(model, self.images, self._maps, output="", among=known or None)
        if all(error.present for error in errors):  # after an overflow other tensors are nearest
            self._known_maps = frozenset(error.tensor for error in errors if error.tensor is not None)
        found = {error.stage: error.difference or _NOTHING for error in errors}
        shapes = tensor_shapes(model, self.images.shape, integers=True)
        if not self._places.keys() <= made or not self._places:
            self._places = self._find_places(loaded, shapes)
        if not self._places:
            return {**found, **dict.fromkeys(HEADS, _NOTHING)}
        forced = put_in(loaded, self._places)
        known = self._known_heads if self._known_heads <= made else frozenset()
        return {**found, **self._heads_of(forced, shapes, known)}

    def _find_places(self, model: Any, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
        """Tensor -> what JAX answers in its place; {} if nothing in the file is the proposals."""
        sizes = {value.shape for value in self._given.values()}
        held = self._values(model, {name: shape for name, shape in shapes.items() if shape in sizes})
        if not {"boxes", "labels"} <= held.keys():
            return {}
        proposals = self._given[PROPOSALS]
        likeness = {
            name: _likeness(value, proposals)
            for name, value in held.items()
            if value.shape == proposals.shape and value.dtype.kind == "f"
        }
        best = max(likeness, key=lambda name: likeness[name], default="")
        if likeness.get(best, 0.0) < SAME_PROPOSALS:
            return {}
        places = {}
        for what, own in ((PROPOSALS, best), ("boxes", "boxes"), ("labels", "labels")):
            for name, value in held.items():  # the same numbers may have other names, too
                if np.array_equal(value, held[own]):
                    places[name] = self._given[what].astype(value.dtype)
        return places

    def _heads_of(
        self, model: Any, shapes: Mapping[str, tuple[int, ...]], known: Collection[str]
    ) -> dict[str, Difference]:
        """Of each head the tensor nearest to JAX's, whatever axes its rows and columns are split into."""
        sizes = {value.size for value in self._heads.values()}
        floats = {
            name: shape
            for name, shape in shapes.items()
            if int(np.prod(shape)) in sizes and (not known or name in known)
        }
        real = self._given["labels"] >= 0
        # of places without an object masks mean nothing
        best = {name: _NOTHING for name in HEADS if name != "mask_logits" or real.any()}
        nearest: dict[str, str] = {}
        for tensor, value in self._values(model, floats).items():
            for name in best:
                want = self._heads[name]
                if value.size != want.size or value.dtype.kind != "f":
                    continue
                got = value.reshape(want.shape)
                if name == "mask_logits":
                    got, want = got[real], want[real]
                seen = difference(got, want)
                if name not in nearest or seen.relative < best[name].relative:
                    best[name], nearest[name] = seen, tensor
        if all(found.relative <= PRESENT for found in best.values()):
            self._known_heads = frozenset(nearest.values())
        return best

    def _values(self, model: Any, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        for group in in_groups({name: 8 * int(np.prod(shape)) for name, shape in shapes.items()}):
            session = tapped(model, group)
            try:
                found |= session.run(self.images)
            finally:
                session.close()
        return found


def put_in(model: Any, values: Mapping[str, np.ndarray]) -> Any:
    """A copy of `model` (an onnx.ModelProto) in which whoever reads one of these tensors reads these values;
    what computed it goes on under another name."""
    onnx = require("onnx")
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for node in copy.graph.node:
        for index, name in enumerate(node.output):
            if name in values:
                node.output[index] = name + _COMPUTED
                copy.graph.initializer.append(onnx.numpy_helper.from_array(values[name], name))
    return copy


def _likeness(boxes: np.ndarray, wanted: np.ndarray) -> float:
    """Mean overlap of each of the `wanted` boxes (b, p, 4) with the nearest of `boxes`, in any order. Those
    without area fill up the list, and are like any other's."""
    real = np.all(wanted[..., 2:] > wanted[..., :2], axis=-1)
    nearest = [
        overlaps(theirs[there].astype(np.float64), mine.astype(np.float64)).max(1)
        for mine, theirs, there in zip(boxes, wanted, real, strict=True)
    ]
    return float(np.concatenate(nearest).mean()) if real.any() else 0.0
