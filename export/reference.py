"""What JAX itself answers on the gate's images: the reference of every comparison."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any

import jax
import numpy as np

from export import kind as kinds
from export.answers import DEPLOY_FORM, TRAINING_FORM, Reference
from export.kind import Kind
from export.parity import check_reference, difference
from hvjax.models.features import STAGES, Backbone
from hvjax.ops.conv import plain_convolutions

#: Images in one call: a bound on memory, not a choice of numerics.
CHUNK = 8
#: The same for models that answer for every pixel or box.
DENSE_CHUNK = 2
#: Features in the order of the network.
NAMES = (*STAGES, "pre_logits", "logits")

Form = tuple[Any, Mapping[str, Any]]  # a model and its variables


def compute(
    kind: Kind,
    training: Form | None,
    deploy: Form,
    images: np.ndarray,
    staged: int,
    layout: str = "nhwc",
) -> Reference:
    """Runs both forms on `images` (NHWC, normalised); answers that are maps come in `layout`."""
    with on_cpu():
        # The deploy form is computed as it is exported, the training form as it was trained.
        answer, features, steps = _run(kind, *deploy, images, staged, plain=True)
        for values in (*features.values(), *steps.values()):  # a detector would answer that there is nothing
            check_reference(values)
        forms = {DEPLOY_FORM: answer}
        noise = {}
        if training is not None:
            trained, before, _ = _run(kind, *training, images, staged, plain=False)
            noise = {name: difference(features[name], before[name]).relative for name in features}
            forms = {TRAINING_FORM: trained, DEPLOY_FORM: answer}
    if kind.has_maps and layout == "nchw":
        forms = {form: {name: _first(x) for name, x in found.items()} for form, found in forms.items()}
    outputs = {form: found[kind.output] for form, found in forms.items()}
    others = forms if len(kind.outputs) > 1 else {}
    return Reference(outputs, features, noise, others, kind.least_score, steps)


def on_cpu() -> AbstractContextManager[Any]:
    """While active, JAX computes on the CPU: GPUs may round float32 products."""
    return jax.default_device(jax.devices("cpu")[0])


@lru_cache(maxsize=8)
def compiled_features(model: Backbone, plain: bool = False) -> Callable[..., dict[str, Any]]:
    """`(variables, images) -> features`, compiled once for all who ask; `plain`: with the convolutions as
    an exporter sees them."""

    def features(variables: Any, images: Any) -> Any:
        with plain_convolutions() if plain else nullcontext():
            return model.apply(variables, images, method="features")

    return jax.jit(features)


@lru_cache(maxsize=8)
def _compiled(kind: Kind, model: Any, plain: bool) -> Callable[..., Any]:
    """`(variables, images) -> (outputs, features)`."""
    if kind.name == "classes":  # compiled already for who drew the weights
        run = compiled_features(model, plain)
        return lambda variables, images: ((found := run(variables, images)), found)

    def both(variables: Any, images: Any) -> Any:
        with plain_convolutions() if plain else nullcontext():
            return kinds.answers(kind, model, variables, images)

    return jax.jit(both)


def _run(
    kind: Kind, model: Any, variables: Mapping[str, Any], images: np.ndarray, staged: int, plain: bool
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The outputs on all images, and of the first `staged` the features, in the order of the network, and the
    steps of a detector."""
    run = _compiled(kind, model, plain)
    kept: list[dict[str, np.ndarray]] = []
    answers: list[dict[str, np.ndarray]] = []
    chunk = CHUNK if kind.name == "classes" else DENSE_CHUNK
    for index, part in enumerate(_chunks(images, chunk)):
        found, features = run(variables, part)
        answers.append({name: np.asarray(found[name]) for name in kind.outputs})
        if index * chunk < staged:
            known = [name for name in features if plain or name in NAMES]  # of the training form no steps
            kept.append({name: np.asarray(features[name]) for name in known})
    order = [name for name in NAMES if name in kept[0]]
    seen = {name: np.concatenate([part[name] for part in kept])[:staged] for name in kept[0]}
    steps = {name: seen[name] for name in seen if name not in order}
    outputs = {name: np.concatenate([part[name] for part in answers])[: len(images)] for name in kind.outputs}
    return outputs, {name: seen[name] for name in order}, steps


def _chunks(images: np.ndarray, size: int) -> list[np.ndarray]:
    """Pieces of `size` images; the last is filled up with its first image, so that one shape compiles."""
    size = min(size, len(images))
    missing = -len(images) % size
    filled = np.concatenate([images, images[-1:].repeat(missing, 0)]) if missing else images
    return [filled[start : start + size] for start in range(0, len(filled), size)]


def _first(value: np.ndarray) -> np.ndarray:
    """Channels first."""
    return np.ascontiguousarray(value.transpose(0, 3, 1, 2)) if value.ndim == 4 else value
