"""What a segmenter minimises."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, UInt8

from train_tpu.learning.objective import normalise

IGNORE = 255  # of a label: no class


@dataclasses.dataclass(frozen=True)
class Segmenting:
    """Cross-entropy of every pixel, and of an auxiliary head's where the model has one; see `step.Objective`.

    As in mmsegmentation, the mean is over all pixels: those without a class count, with a loss of zero.

    Attributes:
      mean, std: per channel, of pixels between 0 and 1.
      auxiliary: weight of the auxiliary head's loss.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    auxiliary: float = 0.4
    method = "outputs"
    streams = ("dropout",)

    def part(self, batch: dict[str, Any], key: jax.Array) -> tuple[Array, Array]:
        """Images and labels; nothing is random here."""
        return normalise(batch["image"], self.mean, self.std), batch["labels"]

    def arguments(self, part: tuple[Array, Array]) -> tuple[Array]:
        """The images."""
        return (part[0],)

    def scored(
        self, answer: dict[str, Array], part: tuple[Array, Array], teacher_logits: Any = None
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        """The loss; "pixels", the share of pixels with a class that are named right, and, with an auxiliary
        head, its loss before weighting."""
        labels = part[1]
        loss = pixel_loss(answer["logits"], labels)
        named = labels != IGNORE
        right = (jnp.argmax(answer["logits"], -1) == labels) & named
        scores = {"pixels": right.sum() / jnp.maximum(named.sum(), 1)}
        if "auxiliary" in answer:
            scores["auxiliary_loss"] = pixel_loss(answer["auxiliary"], labels)
            loss = loss + self.auxiliary * scores["auxiliary_loss"]
        return loss, scores


def pixel_loss(
    logits: Float[Array, "b h w classes"], labels: UInt8[Array, "b h w"], real: Bool[Array, "b"] | None = None
) -> Float[Array, ""]:
    """Mean over all pixels of the cross-entropy, which is zero where the label is IGNORE; float32.

    Args:
      real: images that count; with it the result is the sum over them of the mean of each.
    """
    named = labels != IGNORE
    wanted = jnp.where(named, labels, 0).astype(jnp.int32)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), wanted)
    losses = jnp.where(named, losses, 0.0)
    if real is None:
        return losses.mean()
    return jnp.where(real, losses.mean((1, 2)), 0.0).sum()
