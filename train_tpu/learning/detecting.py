"""What a detector minimises."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from train_tpu.learning.objective import normalise


@dataclasses.dataclass(frozen=True)
class Detecting:
    """The sum of the losses that a detector computes itself, since its later parts look at what the earlier
    ones proposed; see `step.Objective`.

    Attributes:
      mean, std: per channel, of pixels between 0 and 1.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    method = "losses"
    streams = ("dropout", "sample")

    def part(self, batch: dict[str, Any], key: jax.Array) -> tuple[Array, dict[str, Array]]:
        """Images, and what is in them; nothing is random here."""
        targets = {name: rows for name, rows in batch.items() if name != "image"}
        return normalise(batch["image"], self.mean, self.std), targets

    def arguments(self, part: tuple[Array, dict[str, Array]]) -> tuple[Any, ...]:
        """Both."""
        return part

    def scored(
        self, answer: dict[str, Array], part: Any, teacher_logits: Any = None
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        """The loss, and each of those that it is the sum of."""
        scores = {f"{name}_loss": jnp.mean(loss) for name, loss in answer.items()}
        return sum(scores.values(), jnp.zeros(())), scores
