"""How long a run is, and the learning rate at each step of it."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from train_tpu.config import Config
from train_tpu.errors import UserError


class Length(NamedTuple):
    """Optimizer steps in an epoch, in the warm-up and in the whole run."""

    epoch: int
    warmup: int
    total: int


def run_length(config: Config, examples: int) -> Length:
    """The length of the run over `examples` training images.

    The data is one endless stream of shuffled epochs, so a batch may span two epochs and nothing is
    dropped; an epoch is rounded to whole steps only where something happens "once an epoch".
    """
    batch, schedule = config.data.batch_size, config.schedule
    total = schedule.steps or round(schedule.epochs * examples / batch)
    if total < 1:
        raise UserError(
            f"schedule.epochs={schedule.epochs} of {examples} images at batch {batch} is less than one step"
        )
    warmup = round(total * schedule.warmup_epochs / schedule.epochs)
    return Length(epoch=max(1, round(examples / batch)), warmup=min(warmup, total - 1), total=total)


def peak_lr(config: Config) -> float:
    """base_lr, scaled by batch_size / base_batch where the recipe asks for it (linear scaling rule)."""
    base = config.schedule.base_batch
    return config.schedule.base_lr * (config.data.batch_size / base if base else 1.0)


def warmup_cosine(
    peak: float, length: Length, warmup_lr: float, end_lr: float
) -> Callable[[jnp.ndarray | int], jnp.ndarray]:
    """Step -> learning rate: linear from `warmup_lr` to `peak`, then a cosine down to `end_lr`.

        step < warmup:  warmup_lr + (peak - warmup_lr) * step / warmup
        else:           end_lr + (peak - end_lr) / 2 * (1 + cos(pi * step / total))

    As in timm, the cosine runs over the whole schedule and the warm-up hides its beginning: the rate
    meets the cosine slightly below the peak. Departure: timm's recipes (Next-ViT, DeiT, Swin) step once
    an epoch, with the index of the epoch that has just ended; we step at every optimizer step, so our
    rate at the end of epoch e is the rate which they use throughout epoch e + 1.
    """

    def schedule(step):
        step = jnp.asarray(step, jnp.float32)
        ramp = warmup_lr + (peak - warmup_lr) * step / max(length.warmup, 1)
        turn = jnp.clip(step / length.total, 0.0, 1.0) * math.pi
        cosine = end_lr + 0.5 * (peak - end_lr) * (1 + jnp.cos(turn))
        return jnp.where(step < length.warmup, ramp, cosine)

    return schedule


def due(step: int, every: int, total: int) -> bool:
    """Whether something that happens every `every` steps, and at the end, happens after step `step`."""
    return step == total or (every > 0 and step % every == 0)
