"""ONNX files of subjects, exported once for all runtimes of a run."""

from __future__ import annotations

import jax

from export.bridge import convert
from export.graph import INPUT
from export.lab.subject import Subject

OUTPUT = "result"


class Files:
    """Keeps the last file only: the runtimes of one subject ask for it one after the other."""

    def __init__(self) -> None:
        self._held: tuple[tuple[object, ...], bytes] | None = None

    def onnx(self, subject: Subject, batch: int, precision: str) -> bytes:
        """Input NCHW, float32, static batch."""
        key = (subject.name, tuple(subject.facts.items()).__repr__(), batch, precision)
        if self._held is None or self._held[0] != key:
            model = convert(
                subject.function(precision),
                jax.ShapeDtypeStruct((batch, *subject.shape), "float32"),
                weights=subject.weights(),
                input_names=[INPUT],
                output_names=[OUTPUT],
                input_layout="nchw",
            )
            self._held = (key, model.SerializeToString())
        return self._held[1]
