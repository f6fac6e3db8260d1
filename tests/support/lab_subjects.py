"""Subjects of the lab that compile in a moment, and files that are made without exporting."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from export.lab.subject import Subject, of_function


def scaled(name: str = "scaled", size: int = 8, **facts: Any) -> Subject:
    """The mean of each image's pixels times a matrix: (b, size, size, 3) -> (b, 4)."""

    def function(precision: str) -> Any:
        dtype = {"fp32": jnp.float32, "fp16": jnp.float16, "bf16": jnp.bfloat16}[precision]

        def answer(weights: Any, images: jax.Array) -> jax.Array:
            kernel = weights["params"]["head"]["kernel"].astype(dtype)
            return (images.astype(dtype).mean((1, 2)) @ kernel).astype(jnp.float32)

        return answer

    shapes = {"params": {"head": {"kernel": jax.ShapeDtypeStruct((3, 4), jnp.float32)}}}
    return of_function(name, function, shapes, (size, size, 3), **facts)


class NoFiles:
    """`export.lab.files.Files` for runtimes whose TensorRT or worker is a fake: any bytes will do."""

    def onnx(self, subject: Subject, batch: int, precision: str) -> bytes:
        return f"{subject.name} {batch} {precision}".encode()
