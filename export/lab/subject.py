"""What is measured: a function of images with its weights, and what is known about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

import hvjax
from export.graph import DTYPES
from export.random_weights import draw
from hvjax.facts import count_macs, count_parameters
from hvjax.structure import abstract_variables

SEED = 0
BACKBONE = "stage4"  # the feature that a backbone without head ends with


@dataclass(frozen=True)
class Subject:
    """A network, or a part of one.

    Attributes:
      name: how tables and pictures call it; unique in a study.
      function: (precision) -> a function (weights, images) -> array, where images are NHWC float32 and the
        result is float32, whatever is computed between them.
      weights: makes the float32 weights, the same each time. Random: latency does not depend on their values,
        as long as these are neither all alike nor vanishing.
      shape: of one image, (height, width, channels).
      facts: what a record says about it, JSON values: `params`, `macs` (of one image), how it was made.
    """

    name: str
    function: Callable[[str], Callable[[Any, jax.Array], jax.Array]]
    weights: Callable[[], Any]
    shape: tuple[int, int, int]
    facts: Mapping[str, Any]

    def images(self, batch: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((batch, *self.shape), jnp.float32)


def network(
    model: str,
    *,
    name: str | None = None,
    image_size: int | tuple[int, int] | None = None,
    deploy: bool = True,
    backbone: bool = False,
    **overrides: Any,
) -> Subject:
    """A registry model, deployed unless told otherwise.

    Args:
      name: in tables; the registry name by default.
      image_size: the model's own by default.
      deploy: False measures the training form (with `train=False`), to see what fusing gains.
      backbone: without pooling and classifier, as detection and segmentation use it.
      **overrides: config fields, as of `hvjax.create_model`.

    Raises:
      ValueError: no such model, field or size, or a model with a head for dense prediction.
    """
    check_one_answer(model)
    spec = hvjax.registry.get_spec(model)
    size = image_size or spec.image_size
    height, width = (size, size) if isinstance(size, int) else size
    tied = {"image_size": (height, width)} if hasattr(spec.config, "image_size") else {}
    made = hvjax.create_model(model, deploy=deploy, **{**tied, **overrides})

    def function(precision: str) -> Callable[[Any, jax.Array], jax.Array]:
        typed = made.clone(dtype=DTYPES[precision])

        def answer(weights: Any, images: jax.Array) -> jax.Array:
            result: Any = typed.apply(weights, images, method="features" if backbone else None)
            return (result[BACKBONE] if backbone else result).astype(jnp.float32)

        return answer

    facts = {
        "model": model,
        "overrides": {key: _plain(value) for key, value in overrides.items()},
        "form": "deploy" if deploy else "train",
        "part": "backbone" if backbone else "classifier",
    }
    shape = (height, width, made.config.in_channels)
    return of_function(name or model, function, abstract_variables(made), shape, **facts)


def check_one_answer(model: str) -> None:
    """Raises ValueError for the name of a segmenter or detector: subjects answer with one array an image."""
    backbone, plus, _ = model.partition("+")
    if plus:
        raise ValueError(
            f"{model} is a segmenter or detector: classifiers such as {backbone} are measured here, and "
            "others by export.to_onnx and export.to_trt"
        )


def of_function(
    name: str,
    function: Callable[[str], Callable[[Any, jax.Array], jax.Array]],
    shapes: Any,
    shape: tuple[int, int, int],
    **facts: Any,
) -> Subject:
    """Any function of images or feature maps; a single block, for example.

    Args:
      function: as in `Subject`.
      shapes: of the weights, {"params": ..., "batch_stats": ...} of `jax.ShapeDtypeStruct`.
      shape: of one image, (height, width, channels).
      **facts: for the record; size, parameters and MACs are added.
    """
    image = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    counts = {
        "image_size": list(shape[:2]),
        "params": count_parameters(shapes),
        "macs": count_macs(function("fp32"), shapes, image),
    }
    return Subject(name, function, lambda: draw(shapes, SEED), shape, {**facts, **counts})


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | type(None)) else repr(value)
