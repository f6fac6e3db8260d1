"""A deploy model and its variables -> the bytes of model.onnx."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

import hvjax
from export.flags import Request
from export.load import Source
from hvjax.models.features import Backbone

INPUT = "images"
DTYPES = {"fp32": jnp.float32, "fp16": jnp.float16, "bf16": jnp.bfloat16}


def output_name(model: Backbone) -> str:
    """`logits`, or `pre_logits` for a model without a head."""
    return "logits" if model.config.num_classes else "pre_logits"


def to_onnx_bytes(
    request: Request, source: Source, deploy: Backbone, variables: Mapping[str, Any], size: tuple[int, int]
) -> bytes:
    """Converts the deploy form in the asked precision; input and output of the file stay float32, so that
    whoever feeds it need not know in which precision it computes.

    Raises whatever the bridge raises for a graph it cannot convert.
    """
    from export.bridge import convert

    model = deploy.clone(dtype=DTYPES[request.precision])

    def answer(variables: Any, images: jax.Array) -> jax.Array:
        logits: Any = model.apply(variables, images)
        return logits.astype(jnp.float32)

    shape = (request.batch.typical, *size, model.config.in_channels)
    converted = convert(
        answer,
        jax.ShapeDtypeStruct(shape, jnp.float32),
        weights=variables,
        input_names=[INPUT],
        output_names=[output_name(model)],
        input_layout=request.input_layout,
        via=request.via,
        dynamic_batch=request.batch.dynamic,
        metadata=_metadata(request, source),
    )
    return converted.SerializeToString()


def _metadata(request: Request, source: Source) -> dict[str, str]:
    """What a user of the file alone must know: how to prepare images and what the classes mean."""
    found = {
        "hvjax": hvjax.__version__,
        "model": source.name,
        "precision": request.precision,
        "input_layout": request.input_layout,
        "mean": json.dumps(source.mean),
        "std": json.dumps(source.std),
        "crop_pct": json.dumps(source.crop_pct),
        "interpolation": source.interpolation,
        "pixel_range": "images are (pixels / 255 - mean) / std, RGB",
    }
    if source.class_names:
        found["class_names"] = json.dumps(source.class_names)
    if source.random:
        found["weights"] = "random"
    return found
