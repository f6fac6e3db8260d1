"""What JAX itself answers on the gate's images: the reference of every comparison."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any

import jax
import numpy as np

from export.answers import DEPLOY_FORM, TRAINING_FORM, Reference
from export.parity import difference
from hvjax.models.features import STAGES, Backbone
from hvjax.ops.conv import plain_convolutions

#: Images in one call: a bound on memory, not a choice of numerics.
CHUNK = 8


def compute(
    output: str,
    training: tuple[Backbone, Mapping[str, Any]] | None,
    deploy: tuple[Backbone, Mapping[str, Any]],
    images: np.ndarray,
    staged: int,
) -> Reference:
    """Runs both forms on `images` (NHWC, normalised)."""
    with on_cpu():
        # The deploy form is computed as it is exported, the training form as it was trained.
        answer, features = _run(*deploy, images, staged, output, plain=True)
        if training is None:
            return Reference({DEPLOY_FORM: answer}, features, {})
        trained, before = _run(*training, images, staged, output, plain=False)
    noise = {name: difference(features[name], before[name]).relative for name in features}
    return Reference({TRAINING_FORM: trained, DEPLOY_FORM: answer}, features, noise)


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


def _run(
    model: Backbone,
    variables: Mapping[str, Any],
    images: np.ndarray,
    staged: int,
    output: str,
    plain: bool,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """`output` on all images, and the features of the first `staged`, in the order of the network."""
    run = compiled_features(model, plain)
    kept: list[dict[str, np.ndarray]] = []
    answers = []
    for index, part in enumerate(_chunks(images)):
        found = run(variables, part)
        answers.append(np.asarray(found[output]))
        if index * CHUNK < staged:
            kept.append({name: np.asarray(value) for name, value in found.items()})
    order = [name for name in (*STAGES, "pre_logits", "logits") if name in kept[0]]
    features = {name: np.concatenate([part[name] for part in kept])[:staged] for name in order}
    return np.concatenate(answers)[: len(images)], features


def _chunks(images: np.ndarray) -> list[np.ndarray]:
    """Pieces of `CHUNK` images; the last is filled up with its first image, so that one shape compiles."""
    size = min(CHUNK, len(images))
    missing = -len(images) % size
    filled = np.concatenate([images, images[-1:].repeat(missing, 0)]) if missing else images
    return [filled[start : start + size] for start in range(0, len(filled), size)]
