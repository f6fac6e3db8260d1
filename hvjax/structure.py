"""The names and shapes of a model's variables, and whether given variables have them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp

from hvjax.models.features import Network
from hvjax.ops.trees import Tree, differences

PROBE_SIZE = (224, 224)  # pixels; every model whose tensors do not depend on the image's size can take it


def sample_size(model: Network) -> tuple[int, int]:
    """Return an image size, (height, width), that the model can take.

    It is the one of its config where position tables depend on it (`config.image_size`), 224x224 otherwise.
    """
    height, width = getattr(model.config, "image_size", PROBE_SIZE)
    return height, width


@lru_cache(maxsize=64)
def abstract_variables(model: Network) -> Tree:
    """Return what `model.init` would make, with `jax.ShapeDtypeStruct` leaves; computes no numbers."""
    images = jax.ShapeDtypeStruct((1, *sample_size(model), model.config.in_channels), jnp.float32)
    return jax.eval_shape(model.init, jax.random.key(0), images)


def check_variables(model: Network, variables: Mapping[str, Any]) -> None:
    """Do nothing if `variables` have the names and shapes of the model's.

    Raises:
      ValueError: otherwise; the message lists what is missing, misshapen and unexpected.
    """
    if not isinstance(model, Network):
        shown = repr(model) if isinstance(model, str) else f"a {type(model).__name__}"
        raise ValueError(f"expected a model made by hvjax.create_model, got {shown}")
    check_collections(variables)
    expected = abstract_variables(model)
    problems = differences({"params": expected["params"], **expected}, variables)  # most telling first
    if problems:
        raise ValueError(
            f"these are not the variables of {describe_form(model)}{_hint(model, variables)}:\n{problems}"
        )


def check_collections(variables: Mapping[str, Any]) -> None:
    """Raise ValueError unless `variables` is a dict with the entry "params"."""
    if not isinstance(variables, Mapping) or "params" not in variables:
        found = list(variables) if isinstance(variables, Mapping) else type(variables).__name__
        raise ValueError(
            f'expected variables as model.init returns them, {{"params": ..., ...}}; got {found}'
        )


def describe_form(model: Network) -> str:
    """Return what a model is in messages: `next_vit_s (10 classes, deploy form)`."""
    return (
        f"{model.variant or type(model).__name__} ({model.config.num_classes} classes, {_form(model)} form)"
    )


def _form(model: Network) -> str:
    return "deploy" if model.deploy else "training"


def _hint(model: Network, variables: Mapping[str, Any]) -> str:
    if "batch_stats" not in abstract_variables(model.clone(deploy=False)):
        other = model.clone(deploy=not model.deploy)
        fits = not differences(abstract_variables(other), variables)
        return f" (they are those of its {_form(other)} form)" if fits else ""
    if model.deploy and "batch_stats" in variables:
        return " (with batch statistics they are of a training form: hvjax.reparameterize fuses them)"
    if not model.deploy and "batch_stats" not in variables:
        return " (without batch statistics they may be of a deploy form: create_model(..., deploy=True))"
    return ""
