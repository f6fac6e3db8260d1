"""What segmentation and detection have in common."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import grain
import jax
import numpy as np

from hvjax.registry import get_spec
from hvjax.spec import Spec
from train_tpu.config import Config
from train_tpu.data import dense_pipeline
from train_tpu.data.dense_examples import DenseDataset, open_dense_dataset
from train_tpu.data.quarantine import CorruptImages
from train_tpu.data.watchdog import Watchdog
from train_tpu.errors import UserError
from train_tpu.model import build_dense_model


@dataclasses.dataclass(frozen=True)
class Dense:
    """The part of `task.Task` that is about data and models."""

    config: Config
    name = ""  # one of data.dense_examples.TASKS

    @property
    def spec(self) -> Spec:
        """The backbone's row of the registry: images are normalised by its mean and std."""
        return get_spec(self.config.model.name)

    def open(self) -> DenseDataset:
        return open_dense_dataset(self.config.data, self.name)

    def build(self, dataset: DenseDataset) -> Any:
        data = self.config.data
        model = build_dense_model(self.config.model, len(dataset.class_names), tuple(data.canvas))
        if hasattr(model.config, "image_size") and tuple(data.canvas) != tuple(data.eval_canvas):
            raise UserError(
                f"--config.data.eval_canvas={tuple(data.eval_canvas)}: {self.config.model.name} has tables "
                f"of positions for one size of images; expected that of data.canvas, {tuple(data.canvas)}"
            )
        return model

    def image_shape(self, model: Any) -> tuple[int, int, int]:
        height, width = self.config.data.canvas
        return height, width, model.config.backbone.in_channels

    def batch_shapes(self, model: Any, size: int) -> dict[str, jax.ShapeDtypeStruct]:
        canvas = tuple(self.config.data.canvas)
        shapes = dense_pipeline.batch_shapes(self.config.data, self.name, size, canvas)
        return {name: jax.ShapeDtypeStruct(shape, dtype) for name, (shape, dtype) in shapes.items()}

    def augmentation(self) -> dense_pipeline.Augment:
        """Of training examples, by config.view."""
        raise NotImplementedError

    def train_batches(
        self,
        dataset: DenseDataset,
        *,
        batch_size: int,
        corrupt: CorruptImages,
        process: tuple[int, int],
        watchdog: Watchdog,
    ) -> grain.DatasetIterator:
        return dense_pipeline.train_batches(
            dataset.train,
            self.config.data,
            self.name,
            augment=self.augmentation(),
            seed=self.config.seed,
            batch_size=batch_size,
            corrupt=corrupt,
            process=process,
            watchdog=watchdog,
            mean=self.spec.mean,
        )

    def eval_batches(
        self,
        dataset: DenseDataset,
        *,
        batch_size: int,
        corrupt: CorruptImages,
        process: tuple[int, int] = (0, 1),
        watchdog: Watchdog | None = None,
    ) -> Iterator[dict[str, np.ndarray]]:
        return dense_pipeline.eval_batches(
            dataset.held_out,
            self.config.data,
            self.name,
            batch_size=batch_size,
            corrupt=corrupt,
            process=process,
            watchdog=watchdog,
            mean=self.spec.mean,
        )

    def sample(self, dataset: DenseDataset, count: int, corrupt: CorruptImages) -> dict[str, np.ndarray]:
        rows = dense_pipeline.sample(
            dataset.held_out, self.config.data, self.name, count, corrupt, self.spec.mean
        )
        return {"image": rows["image"]}
