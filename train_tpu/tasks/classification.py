"""One class an image."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import grain
import jax
import numpy as np

from hvjax.registry import get_spec
from train_tpu.config import Config
from train_tpu.data import pipeline
from train_tpu.data.quarantine import CorruptImages
from train_tpu.data.sources import Dataset, open_dataset
from train_tpu.data.watchdog import Watchdog
from train_tpu.evaluation.means import Means
from train_tpu.learning.objective import Objective, make_objective
from train_tpu.learning.scoring import eval_step
from train_tpu.model import build_model


@dataclasses.dataclass(frozen=True)
class Classification:
    """See `task.Task`."""

    config: Config

    def open(self) -> Dataset:
        return open_dataset(self.config.data)

    def build(self, dataset: Dataset) -> Any:
        return build_model(self.config.model, len(dataset.class_names), self.config.data.image_size)

    def image_shape(self, model: Any) -> tuple[int, int, int]:
        return self.config.data.image_size, self.config.data.image_size, model.config.in_channels

    def batch_shapes(self, model: Any, size: int) -> dict[str, jax.ShapeDtypeStruct]:
        return {
            "image": jax.ShapeDtypeStruct((size, *self.image_shape(model)), np.uint8),
            "label": jax.ShapeDtypeStruct((size,), np.int32),
        }

    def train_batches(
        self,
        dataset: Dataset,
        *,
        batch_size: int,
        corrupt: CorruptImages,
        process: tuple[int, int],
        watchdog: Watchdog,
    ) -> grain.DatasetIterator:
        return pipeline.train_batches(
            dataset.train,
            self.config.data,
            seed=self.config.seed,
            batch_size=batch_size,
            corrupt=corrupt,
            process=process,
            watchdog=watchdog,
            mean=get_spec(self.config.model.name).mean,
        )

    def eval_batches(
        self,
        dataset: Dataset,
        *,
        batch_size: int,
        corrupt: CorruptImages,
        process: tuple[int, int] = (0, 1),
        watchdog: Watchdog | None = None,
    ) -> Iterator[dict[str, np.ndarray]]:
        return pipeline.eval_batches(
            dataset.held_out,
            self.config.data,
            batch_size=batch_size,
            corrupt=corrupt,
            process=process,
            watchdog=watchdog,
            interpolation=get_spec(self.config.model.name).interpolation,
        )

    def sample(self, dataset: Dataset, count: int, corrupt: CorruptImages) -> dict[str, np.ndarray]:
        interpolation = get_spec(self.config.model.name).interpolation
        return pipeline.sample(dataset.held_out, self.config.data, count, corrupt, interpolation)

    def objective(self, dataset: Dataset) -> Objective:
        spec = get_spec(self.config.model.name)
        classes = len(dataset.class_names)
        return make_objective(self.config, classes, dataset.class_counts, spec.mean, spec.std)

    def score(self, variables: Any, batch: dict[str, Any], *, model: Any) -> dict[str, Any]:
        spec = get_spec(self.config.model.name)
        return eval_step(variables, batch, model=model, mean=spec.mean, std=spec.std)

    def meter(self, dataset: Dataset) -> Means:
        return Means()

    def said(self, scores: dict[str, float]) -> str:
        return f"top-1 {scores['top1']:.2%}  top-5 {scores['top5']:.2%}  loss {scores['loss']:.4f}"
