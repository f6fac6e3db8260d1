"""What half precision is judged by: the gate of a file and of its copy that rounds, and a search's error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from export import detections, gate, parity, steps
from export.batch import BatchRange
from export.feed import run_all
from export.gate import Gate, gate_onnx
from export.parity import Comparison
from export.precision import CANNOT_RUN
from export.precision.emulate import emulated
from export.runtimes.onnxruntime import OnnxSession

#: Images of one run of the search, where one has few answers; of maps a batch has hundreds of thousands. The
#: gate has the last word, on all of its images.
SEARCH_IMAGES = 8


@dataclass(frozen=True)
class Task:
    """What the gate needs to know: `images` in the layout of the input, JAX's `reference` on all of them,
    and the name of the `output`, of several that by which limits are chosen."""

    precision: str
    trained: bool
    batch: BatchRange
    images: np.ndarray
    reference: Any
    output: str

    @property
    def detects(self) -> bool:
        return detections.are(self.reference.named(self.output))

    @property
    def limit(self) -> float:
        """What the error may be: of a detector that of its steps."""
        if self.detects:
            return steps.limit_of(self.precision, trained=self.trained)
        answer = next(iter(self.reference.outputs.values()))
        return parity.onnx_limit(self.precision, trained=self.trained, answer=answer)

    @property
    def _of_detections(self) -> Mapping[str, float]:
        return detections.limits(self.precision, trained=self.trained) if self.detects else {}

    def gate(self, model: bytes, candidate: str) -> Gate:
        """Of the copy that rounds as the file does."""
        session = OnnxSession(model)
        try:
            return gate_onnx(
                session,
                model,
                self.images,
                self.reference,
                output=self.output,
                precision=self.precision,
                batch=self.batch,
                trained=self.trained,
                candidate=candidate,
            )
        finally:
            session.close()

    def as_it_is(self, model: bytes) -> list[Comparison]:
        """Of the very file, where ONNX Runtime runs it."""
        if self.precision in CANNOT_RUN:
            return []
        session = OnnxSession(model)
        try:
            return gate.compare(
                session.run,
                self.images,
                self.reference.named(self.output),
                self.reference.least_score,
                candidate="model.onnx",
                batches=self.batch.gate_sizes,
                limit=self.limit,
                exact_top1=False,
                of_detections=self._of_detections,
            )
        finally:
            session.close()

    def worst(self, lines: Sequence[Comparison]) -> float:
        """The error of the file: of the worst line. The limits of a detector's lines differ; of it the line
        counts that uses most of its limit, as if that were `limit`."""
        own = [line for line in lines if line.candidate.startswith("model.onnx")]
        if self.detects:
            return max(line.share for line in own) * self.limit
        return max(line.difference.relative for line in own)


@dataclass
class Measure:
    """Errors of copies that round, on the images of the search."""

    task: Task
    runs: int = field(default=0, init=False)

    @cached_property
    def images(self) -> np.ndarray:
        task = self.task
        answer = next(iter(task.reference.outputs.values()))
        count = max(SEARCH_IMAGES if answer.ndim == 2 else 1, task.batch.typical)
        return task.images[: min(count, len(task.images))]

    @cached_property
    def _steps(self) -> steps.Steps:
        return steps.Steps(self.task.images, self.task.reference)

    def __call__(self, copy: bytes) -> tuple[float, float]:
        """Error of the worst output, of a detector of its worst step, and share of the same top-1 classes."""
        self.runs += 1
        if self.task.detects:  # which box stays does not fall as modules become float32; the steps' errors do
            return max(found.relative for found in self._steps.differences(copy).values()), 1.0
        session = OnnxSession(copy)
        try:
            got = run_all(session, self.images, self.task.batch.typical)
        finally:
            session.close()
        count = len(self.images)
        found = [
            parity.difference(got[name], want[:count], logits=name == "logits" and want.ndim == 2)
            for outputs in self.task.reference.named(self.task.output).values()
            for name, want in outputs.items()
        ]
        tops = [line.top1 for line in found if line.top1 is not None]
        return max(line.relative for line in found), min(tops, default=1.0)


def rounding_copy(model: bytes) -> bytes:
    """The float32 copy of a file that rounds wherever it does."""
    return emulated(onnx.load_model_from_string(model)).SerializeToString()


def initializers(model: bytes) -> dict[str, np.ndarray]:
    """The numbers held in a file, by name."""
    graph = onnx.load_model_from_string(model).graph
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
