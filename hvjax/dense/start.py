"""Weights to start a segmenter or detector from: those of a classifier, for its backbone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from hvjax.adapt import adapt
from hvjax.dense.taps import BACKBONE, DenseModel
from hvjax.models.features import Backbone
from hvjax.ops.trees import Path, Tree, differences, flatten, unflatten
from hvjax.structure import abstract_variables, sample_size

STAGE_NORM = "stage_norm"  # beginning of the names of norms that classification does not have


def from_classifier(
    variables: Mapping[str, Any], classifier: Backbone, model: DenseModel, key: Any = None
) -> Tree:
    """Variables of `model` whose backbone has the weights of a classifier.

    What a classifier does not have is drawn anew: the head, norms of outputs and of stages. The classifier's
    own head is left out. Where its images have another number of channels or another size, the weights are
    adapted as by `hvjax.adapt.adapt`.

    Args:
      variables: of `classifier`, in the form (training or deploy) that both models have.
      key: for what is drawn; `jax.random.key(0)` by default.

    Raises:
      ValueError: if the classifier is of another architecture than the backbone, or in another form.

    Warns:
      UserWarning: saying what was adapted to the channels or the size of the images.
    """
    theirs, ours = (f"{m.variant or type(m).__name__}" for m in (classifier, model))
    if classifier.deploy != model.deploy:
        forms = ("deploy", "training") if classifier.deploy else ("training", "deploy")
        raise ValueError(f"the {theirs} has the {forms[0]} form, and {ours} the {forms[1]} form")
    inside = model.config.backbone
    same = {name: getattr(inside, name) for name in ("in_channels", "image_size") if hasattr(inside, name)}
    if type(inside) is not type(classifier.config):
        raise ValueError(f"the weights of {theirs} are not of the backbone of {ours}")
    fitting = classifier.clone(config=replace(classifier.config, **same))
    problems = differences(*_both_backbones(fitting, model))
    if problems:
        raise ValueError(f"the weights of {theirs} are not of the backbone of {ours}:\n{problems}")
    given = flatten(adapt(variables, classifier, fitting, key))
    images = jnp.zeros((1, *sample_size(model), model.config.in_channels))
    start = flatten(model.init(jax.random.key(0) if key is None else key, images))
    return unflatten({path: given.get(_in_backbone(path), leaf) for path, leaf in start.items()})


def _both_backbones(classifier: Backbone, model: DenseModel) -> tuple[Tree, Tree]:
    """Shapes of what `model` wants for its backbone, and of what the classifier has for it."""
    images = jax.ShapeDtypeStruct((1, *sample_size(model), model.config.in_channels), jnp.float32)
    init = partial(classifier.init, method="features", tail=False)
    have = flatten(jax.eval_shape(init, jax.random.key(0), images))
    inside = {_in_backbone(path): leaf for path, leaf in flatten(abstract_variables(model)).items()}
    want = {
        path: leaf
        for path, leaf in inside.items()
        if path and (path in have or not path[1].startswith(STAGE_NORM))
    }
    ours, theirs = unflatten(want), unflatten(have)  # most telling first
    return {"params": ours["params"], **ours}, {"params": theirs["params"], **theirs}


def _in_backbone(path: Path) -> Path:
    """Path of a tensor of the whole model in its backbone alone; () if it is not in there."""
    return (path[0], *path[2:]) if path[1] == BACKBONE else ()
