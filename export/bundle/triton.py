"""config.pbtxt: the model configuration of Triton Inference Server.

Fields after Triton's "Model Configuration": with `max_batch_size` above 0 the full shape is [-1] + dims, and
Triton may send any batch from 1 on. So that is written only for files that take a batch of 1; a fixed or
larger smallest batch is written as `max_batch_size: 0` with the batch among the dims, which Triton then
leaves to the client. `dynamic_batching` gathers single requests into batches; which sizes it prefers is
left to Triton, as its documentation advises for engines of one optimisation profile.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from export.batch import BatchRange

#: platform -> the file it serves.
PLATFORMS = {"tensorrt_plan": "model.engine", "onnxruntime_onnx": "model.onnx"}
_TYPES = {
    "float32": "TYPE_FP32",
    "float16": "TYPE_FP16",
    "uint8": "TYPE_UINT8",
    "int8": "TYPE_INT8",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
}


def config(
    name: str,
    platform: str,
    batch: BatchRange,
    inputs: tuple[str, Sequence[int], Any],
    *outputs: tuple[str, Sequence[int], Any],
    optimise: bool = True,
) -> str:
    """The text of config.pbtxt.

    Args:
      name: of the model, and of its folder in Triton's model repository.
      platform: a key of `PLATFORMS`.
      inputs, outputs: name, axes without the batch, NumPy type or its name.
      optimise: False keeps ONNX Runtime from rewriting the file; 2 is the backend's number for that.
    """
    served = PLATFORMS[platform]
    batching = batch.dynamic and batch.minimum == 1
    lines = [
        f"# Triton model repository: {name}/config.pbtxt and {name}/1/{served}",
        f"name: {json.dumps(name)}",
        f'platform: "{platform}"',
        f'default_model_filename: "{served}"',
        f"max_batch_size: {batch.maximum if batching else 0}",
    ]
    if not batching and batch.dynamic:
        lines.append(f"# batches of {batch.minimum} to {batch.maximum} only: the client must send them")
    leading: tuple[int, ...] = () if batching else ((-1,) if batch.dynamic else (batch.typical,))
    for field, (tensor, shape, dtype) in (("input", inputs), *(("output", one) for one in outputs)):
        dims = ", ".join(str(size) for size in (*leading, *shape))
        lines += [
            f"{field} [",
            "  {",
            f"    name: {json.dumps(tensor)}",
            f"    data_type: {_TYPES[str(np.dtype(dtype))]}",
            f"    dims: [ {dims} ]",
            "  }",
            "]",
        ]
    if batching:
        lines.append("dynamic_batching { }")
    if not optimise:
        lines.append("optimization { graph { level: 2 } }")
    return "\n".join(lines) + "\n"
