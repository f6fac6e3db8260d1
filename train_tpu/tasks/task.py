"""What a run asks of its task."""

from collections.abc import Iterator
from typing import Any, Protocol

import grain
import jax
import numpy as np
from jaxtyping import Array, Float

from train_tpu.data.quarantine import CorruptImages
from train_tpu.data.sources import Dataset
from train_tpu.data.watchdog import Watchdog

Batch = dict[str, Any]  # "image": uint8 (b, h, w, c) and what is to be learned of it
Answers = dict[str, Any]  # of the compiled scoring of a batch: arrays that every host has


class Objective(Protocol):
    """What is minimised. A part is a tree of arrays with the examples first: of a batch, or of a share of it.

    method, streams: how the model is asked, see forward.Forward. part: of a batch, with a key for what is
    random in it. arguments: what of a part the model is given; a teacher is given the first of it.
    scored: the model's answer -> the mean loss, and other scalars that are to be logged.
    """

    @property
    def method(self) -> str: ...
    @property
    def streams(self) -> tuple[str, ...]: ...
    def part(self, batch: Batch, key: jax.Array) -> Any: ...
    def arguments(self, part: Any) -> tuple[Any, ...]: ...
    def scored(
        self, answer: Any, part: Any, teacher_logits: Any = None
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]: ...


class Meter(Protocol):
    """Gathers what is answered to held-out batches, and makes scores of it."""

    def add(self, answers: Answers) -> None:
        """Take in the answers to one batch."""
        ...

    @property
    def value(self) -> dict[str, float]:
        """Scores by name: shares of 1, the larger the better, but for "loss" and "count" (of images).

        Raises:
          RunFailed: there was no image.
        """
        ...


class Task(Protocol):
    """Made from a config by `choice.task_of`; knows neither devices nor steps.

    Classes, models and batches are those of the task; batches are dicts with uint8 "image" (b, h, w, c), in
    training without padding, in evaluation all of one size, with rows that are marked as padding.
    """

    def open(self) -> Dataset:
        """Training and held-out examples.

        Raises:
          UserError: there are none, or something else.
        """
        ...

    def build(self, dataset: Dataset) -> Any:
        """The model, for the classes of the data.

        Raises:
          UserError: it cannot be built.
        """
        ...

    def image_shape(self, model: Any) -> tuple[int, int, int]:
        """(h, w, c) of what the model is given."""
        ...

    def batch_shapes(self, model: Any, size: int) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes and types of a training batch of so many images."""
        ...

    def train_batches(
        self,
        dataset: Dataset,
        *,
        batch_size: int,
        corrupt: CorruptImages,
        process: tuple[int, int],
        watchdog: Watchdog,
    ) -> grain.DatasetIterator:
        """Endless, as data.pipeline.train_batches."""
        ...

    def eval_batches(
        self,
        dataset: Dataset,
        *,
        batch_size: int,
        corrupt: CorruptImages,
        process: tuple[int, int] = (0, 1),
        watchdog: Watchdog | None = None,
    ) -> Iterator[dict[str, np.ndarray]]:
        """One pass over the held-out examples, as data.pipeline.eval_batches."""
        ...

    def sample(self, dataset: Dataset, count: int, corrupt: CorruptImages) -> dict[str, np.ndarray]:
        """Up to `count` held-out "image"s, spread evenly, as evaluation sees them; their "label"s if any."""
        ...

    def objective(self, dataset: Dataset) -> Objective:
        """What is minimised."""
        ...

    def score(self, variables: Any, batch: dict[str, Any], *, model: Any) -> Answers:
        """The answers to a batch of held-out images: a pure function, to be compiled."""
        ...

    def meter(self, dataset: Dataset) -> Meter:
        """An empty one."""
        ...

    def said(self, scores: dict[str, float]) -> str:
        """Scores as part of a line of text."""
        ...
