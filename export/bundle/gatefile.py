"""gate.npz: what to feed the graph, what it must answer, and how near.

Arrays (never pickles): `input.NAME` (images, ...) in the layout and type of the graph's input;
`output.NAME` (images, ...) as the deploy form answers in JAX in float32 (for a graph that ends in top-k: all
probabilities, and `top`, how many of them the graph gives).

Of a file that answers classes: `tolerance.onnx`, `tolerance.engine`, `tolerance.engine_tf32`, the largest
difference allowed, relative to the largest magnitude of the expected output; `exact_top1`: whether each image
must keep its top-1 class.

Of any other: `answers`, which of `export.bundle.ANSWERS`, as they are compared differently; a tolerance for
each output, `tolerance.onnx.stage1`; of detections also `least_score`, which listed ones are more probable
than, `tolerance.*.labels`, the share of them that may lack a partner, and, where only sure ones are compared
(`export.sure`), `tolerance.*.sure` and `tolerance.*.overlap`.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from export.bundle import CLASSES
from export.ends.spec import Ends

TOLERANCES = ("onnx", "engine", "engine_tf32")

Limits = Mapping[str, float]  # by output


@dataclass(frozen=True)
class GateFile:
    """`inputs` and each of `expected` have one entry an image.

    expected: by output, in the order of the graph. tolerances: those of each output, by key of `TOLERANCES`.
    answers: one of `export.bundle.ANSWERS`. top: the graph gives that many largest of what is expected and
    their classes, 0: all of it. least_score: of detections.
    """

    input: str
    inputs: np.ndarray
    expected: Mapping[str, np.ndarray]
    tolerances: Mapping[str, Limits]
    answers: str = CLASSES
    exact_top1: bool = False
    top: int = 0
    least_score: float = 0.0

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def nbytes(self) -> int:
        """Of the arrays, before they are compressed."""
        return self.inputs.nbytes + sum(value.nbytes for value in self.expected.values())

    def first(self, count: int) -> GateFile:
        """That of the first `count` images."""
        kept = {name: value[:count] for name, value in self.expected.items()}
        return replace(self, inputs=self.inputs[:count], expected=kept)

    def outputs(self, ends: Ends) -> list[tuple[str, tuple[int, ...], str]]:
        """Name, shape without the batch, and type of what the graph gives."""
        if self.answers == CLASSES:
            ((name, value),) = self.expected.items()
            return ends.outputs(name, value.shape[-1])
        return [(name, value.shape[1:], str(value.dtype)) for name, value in self.expected.items()]

    def pack(self) -> bytes:
        """The bytes of gate.npz; equal contents give equal bytes."""
        arrays = {f"input.{self.input}": self.inputs}
        arrays |= {f"output.{name}": value for name, value in self.expected.items()}
        if self.answers == CLASSES:
            (name,) = self.expected
            arrays["exact_top1"] = np.array(self.exact_top1)
            arrays |= {f"tolerance.{key}": _number(self.tolerances[key][name]) for key in TOLERANCES}
            arrays |= {"top": np.array(self.top)} if self.top else {}
        else:
            arrays |= {"answers": np.array(self.answers), "least_score": _number(self.least_score)}
            arrays |= {
                f"tolerance.{key}.{name}": _number(limit)
                for key, limits in self.tolerances.items()
                for name, limit in limits.items()
            }
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        return buffer.getvalue()


def _number(value: float) -> np.ndarray:
    return np.array(value, np.float64)
