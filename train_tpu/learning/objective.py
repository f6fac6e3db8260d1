"""What is minimised: a batch of pixels becomes inputs and targets, logits become a loss."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from train_tpu.config import Config
from train_tpu.errors import UserError
from train_tpu.learning.erasing import Erasure, draw_erasure, erase
from train_tpu.learning.losses import (
    binary_cross_entropy,
    distillation_loss,
    in_top_k,
    soft_cross_entropy,
)
from train_tpu.learning.mixing import Mixing, flip, mix

# What is drawn for the inputs of a step, each from its own key.
ERASING, MIXING = 0, 1


@dataclasses.dataclass(frozen=True)
class Objective:
    """Fixed under jit: numbers and names only.

    mean, std: per channel, of pixels between 0 and 1. smoothing: mass spread over all classes.
    erasing: probability, see erasing.py. name: of the loss, cross_entropy or bce.
    threshold: of targets of bce, see losses.py. class_weights: one per class; () = all alike.
    distillation: (kind, alpha, temperature) where a teacher teaches, see distill.py.
    """

    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    smoothing: float = 0.0
    erasing: float = 0.0
    mixing: Mixing | None = None
    name: str = "cross_entropy"
    threshold: float = 0.0
    class_weights: tuple[float, ...] = ()
    distillation: tuple[str, float, float] | None = None

    # How the model is asked in training, see forward.Forward.
    method = "__call__"
    streams = ("dropout",)

    def part(self, batch: dict[str, Any], key: jax.Array) -> tuple[Array, Array, Array]:
        """What a step learns from, of a batch: images, soft targets, labels."""
        return *self.inputs(batch, key), batch["label"]

    def arguments(self, part: tuple[Array, ...]) -> tuple[Array]:
        """What of a part the model is given; a teacher is given the first of it."""
        return (part[0],)

    def scored(
        self, logits: Any, part: tuple[Array, ...], teacher_logits: Any = None
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        """The mean loss of a part, and what is to be logged of it: top1 and, if one teaches, teacher_top1.

        Both are of the augmented images, by their labels before mixing.
        """
        _, targets, labels = part
        scores = {"top1": in_top_k(logits, labels, 1).mean()}
        if teacher_logits is not None:
            scores["teacher_top1"] = in_top_k(teacher_logits, labels, 1).mean()
        return self.loss(logits, targets, teacher_logits).mean(), scores

    def inputs(
        self, batch: dict[str, Any], key: jax.Array
    ) -> tuple[Float[Array, "b h w c"], Float[Array, "b classes"]]:
        """Normalised images, erased and mixed, and their soft targets: smoothed, then mixed. float32.

        In timm's order: its loader normalises and erases, its training loop mixes.

        Args:
          batch: {"image": uint8 (b, h, w, c), "label": int32 (b,)}.
          key: for what is random.
        """
        pixels, erasure = batch["image"], None
        count, height, width, _ = pixels.shape
        if self.erasing:
            erasure = draw_erasure(jax.random.fold_in(key, ERASING), count, height, width, self.erasing)
        images = self._images(pixels, erasure)
        one_hot = jax.nn.one_hot(batch["label"], self.num_classes)
        targets = one_hot * (1 - self.smoothing) + self.smoothing / self.num_classes
        if self.mixing:
            kept, lam = self.mixing.draw(jax.random.fold_in(key, MIXING), height, width)
            images = mix(images, self._images(*flip((pixels, erasure))), kept)
            targets = targets * lam + flip(targets) * (1 - lam)
        return images, targets

    def _images(self, pixels: UInt8[Array, "b h w c"], erasure: Erasure | None) -> Float[Array, "b h w c"]:
        images = normalise(pixels, self.mean, self.std)
        return images if erasure is None else erase(images, erasure)

    def loss(
        self,
        logits: Float[Array, "b classes"],
        targets: Float[Array, "b classes"],
        teacher_logits: Float[Array, "b classes"] | None = None,
    ) -> Float[Array, "b"]:
        """Per example, in float32: (1 - alpha) times that of the targets, alpha times the teacher's."""
        weights = jnp.asarray(self.class_weights) if self.class_weights else None
        if self.name == "bce":
            loss = binary_cross_entropy(logits, targets, self.threshold, weights)
        else:
            loss = soft_cross_entropy(logits, targets, weights)
        if teacher_logits is None or self.distillation is None:
            return loss
        kind, alpha, temperature = self.distillation
        return (1 - alpha) * loss + alpha * distillation_loss(logits, teacher_logits, kind, temperature)


def make_objective(
    config: Config, num_classes: int, class_counts: tuple[int, ...], mean: Any, std: Any
) -> Objective:
    """The objective of a config. class_counts: training examples of each class.

    Raises:
      UserError: classes are to be weighted, and one has no training examples.
    """
    loss, weights, distill = config.loss, (), config.distill
    if loss.class_weights == "balanced":
        weights = balanced_weights(class_counts)
    return Objective(
        num_classes,
        tuple(mean),
        tuple(std),
        smoothing=loss.label_smoothing,
        erasing=config.data.erasing,
        mixing=Mixing(**config.mix),
        name=loss.name,
        threshold=loss.target_threshold,
        class_weights=weights,
        distillation=(distill.kind, distill.alpha, distill.temperature) if distill.teacher else None,
    )


def balanced_weights(class_counts: tuple[int, ...]) -> tuple[float, ...]:
    """examples / (classes * examples of the class): scikit-learn's "balanced", whose mean over examples is 1.

    Raises:
      UserError: a class has no examples, or their number is not known.
    """
    if not class_counts:
        raise UserError(
            "--config.loss.class_weights='balanced': how often a class occurs in this data set is known only "
            "after reading all of it; take a folder of images, or records of train_tpu.prepare"
        )
    if 0 in class_counts:
        raise UserError(
            f"--config.loss.class_weights='balanced': class number {class_counts.index(0)} has no training "
            "images, so its weight would be infinite; remove the class or train without weights"
        )
    total = sum(class_counts)
    return tuple(total / (len(class_counts) * count) for count in class_counts)


def normalise(
    images: UInt8[Array, "b h w c"], mean: tuple[float, ...], std: tuple[float, ...]
) -> Float[Array, "b h w c"]:
    """(images / 255 - mean) / std per channel, float32."""
    return (images.astype(jnp.float32) / 255.0 - jnp.asarray(mean)) / jnp.asarray(std)
