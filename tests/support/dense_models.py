"""Segmenters and detectors small enough for tests: small backbones (`families`) and thin heads."""

from typing import Any

import jax
import numpy as np
from families import merged

import hvjax
from hvjax.structure import abstract_variables

BACKBONES = {
    name: {field: value for field, value in numbers.items() if field != "num_classes"}
    for name, numbers in merged("small").items()
}
HEADS = {
    "semantic_fpn": {"channels": 8, "head_channels": 8},
    "upernet": {"channels": 8, "auxiliary_channels": 8},
}
CLASSES = 5


def small(name: str, *, deploy: bool = False, backbone: Any = None, **changes: Any) -> Any:
    """Small form of a model `BACKBONE+HEAD`; further fields as for `hvjax.create_model`."""
    inner, _, head = name.partition("+")
    numbers = {"num_classes": CLASSES, **HEADS[head], **changes}
    return hvjax.create_model(
        name, deploy=deploy, backbone={**BACKBONES[inner], **(backbone or {})}, **numbers
    )


def draw_images(model: Any, size: tuple[int, int] = (64, 48), count: int = 2) -> np.ndarray:
    """Random images, of the model's own size where it has one."""
    size = getattr(model.config, "image_size", size)
    shape = (count, *size, model.config.in_channels)
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def draw_variables(model: Any) -> Any:
    """Variables that hide nothing: norms far from the identity, biases in use, activations of order one."""
    rng = np.random.default_rng(0)

    def leaf(path: Any, spec: Any) -> np.ndarray:
        name = path[-1].key
        if name in ("var", "scale"):
            values = rng.uniform(0.5, 1.5, spec.shape)
        elif name == "kernel":
            values = rng.normal(0, np.prod(spec.shape[:-1]) ** -0.5, spec.shape)
        else:
            values = rng.normal(0, 0.3, spec.shape)
        return values.astype(np.float32)

    return jax.tree_util.tree_map_with_path(leaf, abstract_variables(model))
