"""What is minimised: a batch of pixels becomes inputs and targets, logits become a loss."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from train_tpu.config import Config
from train_tpu.losses import soft_cross_entropy


@dataclasses.dataclass(frozen=True)
class Objective:
    """Fixed under jit: numbers and names only.

    mean, std: per channel, of pixels between 0 and 1. smoothing: mass spread over all classes.
    """

    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    smoothing: float = 0.0

    def inputs(
        self, batch: dict[str, Any], key: jax.Array
    ) -> tuple[Float[Array, "b h w c"], Float[Array, "b classes"]]:
        """Normalised images and soft targets.

        Args:
          batch: {"image": uint8 (b, h, w, c), "label": int32 (b,)}.
          key: for what is random.
        """
        del key
        images = normalise(batch["image"], self.mean, self.std)
        one_hot = jax.nn.one_hot(batch["label"], self.num_classes)
        return images, one_hot * (1 - self.smoothing) + self.smoothing / self.num_classes

    def loss(
        self,
        logits: Float[Array, "b classes"],
        targets: Float[Array, "b classes"],
        teacher_logits: Float[Array, "b classes"] | None = None,
    ) -> Float[Array, "b"]:
        """Per example, in float32."""
        del teacher_logits
        return soft_cross_entropy(logits, targets)


def make_objective(
    config: Config, num_classes: int, class_counts: tuple[int, ...], mean: Any, std: Any
) -> Objective:
    """The objective of a config. class_counts: training examples of each class."""
    del class_counts
    return Objective(num_classes, tuple(mean), tuple(std), smoothing=config.loss.label_smoothing)


def normalise(
    images: UInt8[Array, "b h w c"], mean: tuple[float, ...], std: tuple[float, ...]
) -> Float[Array, "b h w c"]:
    """(images / 255 - mean) / std per channel, float32."""
    return (images.astype(jnp.float32) / 255.0 - jnp.asarray(mean)) / jnp.asarray(std)
