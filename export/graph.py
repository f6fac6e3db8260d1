"""A deploy model and its variables -> the bytes of model.onnx."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

import hvjax
from export.ends.front import front
from export.ends.spec import FRONT
from export.flags import Request
from export.kind import Kind, kind_of, outputs
from export.load import Source

INPUT = "images"
DTYPES = {"fp32": jnp.float32, "fp16": jnp.float16, "bf16": jnp.bfloat16}
#: Rounds in which the boxes that others suppress are found (`hvjax.dense.nms`), behind a first one that is
#: always written. The most that any of the measured scores and boxes needed is 20 (docs/export-decisions.md).
LOOP_ROUNDS = 24

#: What the answers of files that give no classes mean, and how images are put onto the canvas.
MEANINGS = {
    "stages": {},
    "map": {
        "logits": "a score of each class for each pixel of the input",
        "padding": "the image is at the top left of the input; the rest has the mean colour",
    },
    "detections": {
        "boxes": "x1, y1, x2, y2 in pixels of the input, best first; zeros where labels are -1",
        "scores": "probability of the label",
        "labels": "class, counted from 0; -1: no detection",
        "masks": "probability of the object in each cell of a grid stretched over its box",
        "padding": "the image fills the input, or is at its top left beside the mean colour: then what is "
        "found beyond it is to be cut off or dropped",
    },
}


def to_onnx_bytes(
    request: Request, source: Source, deploy: Any, variables: Mapping[str, Any], size: tuple[int, int]
) -> bytes:
    """Converts the deploy form in the asked precision, with what is asked for before it; input and output of
    the file stay float32 (or uint8), so that whoever feeds it need not know in which precision it computes.
    Outputs that are maps have the order of dimensions of the input.

    Raises whatever the bridge raises for a graph it cannot convert.
    """
    from export.bridge import convert

    model = deploy.clone(dtype=DTYPES[request.precision])
    before = front(
        request.ends,
        size,
        crop_pct=source.crop_pct,
        interpolation=source.interpolation,
        mean=source.mean,
        std=source.std,
    )

    kind = kind_of(deploy, backbone=request.backbone)

    def answer(weights: Any, pictures: jax.Array) -> tuple[jax.Array, ...]:
        held = {name: value for name, value in weights.items() if name != FRONT}
        return tuple(outputs(kind, model, held, before.apply(weights.get(FRONT), pictures)).values())

    picture, _ = request.ends.picture(size, source.crop_pct)
    shape = (request.batch.typical, *picture, model.config.in_channels)
    converted = convert(
        answer,
        jax.ShapeDtypeStruct(shape, request.ends.dtype),
        weights={**variables, FRONT: dict(before.constants)} if before.constants else variables,
        input_names=[INPUT],
        output_names=kind.outputs,
        input_layout=request.input_layout,
        output_layout=request.input_layout if kind.has_maps else None,
        via=request.via,
        dynamic_batch=request.batch.dynamic,
        metadata=_metadata(request, source, kind),
        loop_rounds=LOOP_ROUNDS,
    )
    return converted.SerializeToString()


def _ends(request: Request) -> dict[str, str]:
    """What is inside the file at its ends, where there is anything."""
    found = {key: value for key, value in request.ends.as_dict().items() if value not in (None, "none")}
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in found.items()}


def _metadata(request: Request, source: Source, kind: Kind) -> dict[str, str]:
    """What a user of the file alone must know: how to prepare images and what the classes mean."""
    found = {
        "hvjax": hvjax.__version__,
        "model": source.name,
        "precision": request.precision,
        "input_layout": request.input_layout,
        "mean": json.dumps(source.mean),
        "std": json.dumps(source.std),
        "interpolation": source.interpolation,
        "pixel_range": "images are pixels in 0..255, RGB"
        if request.ends.takes_pictures
        else "images are (pixels / 255 - mean) / std, RGB",
        **_ends(request),
    }
    if kind.name == "classes":
        found["crop_pct"] = json.dumps(source.crop_pct)
    else:
        found |= {"answers": kind.name, "num_classes": str(source.model.config.num_classes)}
        found |= MEANINGS[kind.name]
        if source.eval_resize is not None:
            found["eval_resize"] = json.dumps(source.eval_resize)
    if kind.has_maps:
        found["output_layout"] = request.input_layout
    if source.class_names:
        found["class_names"] = json.dumps(source.class_names)
    if source.random:
        found["weights"] = "random"
    return found
