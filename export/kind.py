"""What kind of answers a file gives: classes, the four stages of a backbone, a map of classes, detections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from export.arguments import UsageError
from export.detections import DETECTIONS
from export.flags import Request
from hvjax.dense.segmenter import Segmenter
from hvjax.models.features import Backbone

#: Images of the gate unless told otherwise. Answers for every pixel, or a hundred masks, are large.
GATE_IMAGES = {"classes": 16, "stages": 8, "map": 2, "detections": 2}
STAGES = ("stage1", "stage2", "stage3", "stage4")


@dataclass(frozen=True)
class Kind:
    """name: "classes", "stages", "map" or "detections". outputs: what the file gives, in order. least_score:
    detections that are not more probable are not listed."""

    name: str
    outputs: tuple[str, ...]
    least_score: float = 0.0

    @property
    def output(self) -> str:
        """The output that limits are chosen by: the last stage, the only one, or the scores."""
        return {"stages": STAGES[-1], "detections": "scores"}.get(self.name, self.outputs[0])

    @property
    def has_maps(self) -> bool:
        """Whether its outputs are images (b, h, w, c), which a file may give in the order of its input."""
        return self.name in ("stages", "map")

    @property
    def gate_images(self) -> int:
        return GATE_IMAGES[self.name]


def kind_of(model: Any, *, backbone: bool = False) -> Kind:
    """The answers of a model; `backbone`: its stages alone are wanted."""
    if backbone:
        return Kind("stages", STAGES)
    if isinstance(model, Backbone):
        return Kind("classes", ("logits" if model.config.num_classes else "pre_logits",))
    if isinstance(model, Segmenter):
        return Kind("map", ("logits",))
    return Kind("detections", DETECTIONS, model.config.least_score)


def answers(
    kind: Kind, model: Any, variables: Mapping[str, Any], images: jax.Array
) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """(outputs of the file, features by which an error in it is found, of a detector its steps too), as JAX
    computes them.

    Floating point outputs are float32; features are in the order of the network, in the model's type.
    """
    if kind.name == "classes":
        features = model.apply(variables, images, method="features")
        found = features
    else:
        features = stages(model, variables, images)
        if kind.name == "detections":
            found, steps = model.apply(variables, images, method="steps")
            features = {**features, **steps}
        else:
            found = features if kind.name == "stages" else outputs(kind, model, variables, images)
        if kind.name == "map":
            features = {**features, **found}
    return {name: _plain(found[name]) for name in kind.outputs}, features


def outputs(kind: Kind, model: Any, variables: Mapping[str, Any], images: jax.Array) -> dict[str, jax.Array]:
    """What the file gives, in its order; floating point outputs are float32."""
    found = stages(model, variables, images) if kind.name == "stages" else model.apply(variables, images)
    if not isinstance(found, Mapping):
        found = {kind.output: found}
    return {name: _plain(found[name]) for name in kind.outputs}


def stages(model: Any, variables: Mapping[str, Any], images: jax.Array) -> dict[str, jax.Array]:
    """The features of the backbone without what stands behind its last stage."""
    options: dict[str, Any] = {"tail": False} if isinstance(model, Backbone) else {}
    found: Any = model.apply(variables, images, method="features", **options)
    return found


def _plain(value: jax.Array) -> jax.Array:
    return value.astype(jnp.float32) if jnp.issubdtype(value.dtype, jnp.floating) else value


def check_kind(request: Request, kind: Kind, name: str) -> None:
    """What can only be asked for of some models.

    Raises:
      UsageError: a precision or an end that a file with these answers has not.
    """
    if kind.name == "classes":
        return
    what = f"{name}, which answers {', '.join(kind.outputs)}"
    if request.quantise is not None:
        raise UsageError(f"--precision {request.precision} is for classifiers, and this is {what}")
    if request.ends.postprocess != "none":
        raise UsageError(f"--postprocess {request.ends.postprocess} is for classifiers, and this is {what}")
    if request.ends.source is not None:
        raise UsageError(
            f"--preprocess full resizes and crops as for a classifier, and this is {what}; "
            "--preprocess normalise takes uint8 pictures of its own size"
        )
