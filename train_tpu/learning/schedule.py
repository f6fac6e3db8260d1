"""How long a run is, and the learning rate at each step of it."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from train_tpu.config import Config
from train_tpu.errors import UserError

LINES = 20  # of the log, at least, in a run of so many steps


class Length(NamedTuple):
    """Optimizer steps in an epoch, in the warm-up and in the whole run; `cooldown` of them are at its end."""

    epoch: int
    warmup: int
    total: int
    cooldown: int = 0


def run_length(config: Config, examples: int) -> Length:
    """The length of the run over `examples` training images.

    The data is one endless stream of shuffled epochs, so a batch may span two epochs and nothing is
    dropped; an epoch is rounded to whole steps only where something happens "once an epoch".

    Raises:
      UserError: the run has no step, or none after its warm-up.
    """
    batch, schedule = config.data.batch_size, config.schedule
    epochs = schedule.epochs + schedule.cooldown_epochs
    warmup = schedule.warmup_steps
    total = schedule.steps or round(epochs * examples / batch)
    if total < 1:
        raise UserError(
            f"schedule.epochs={schedule.epochs} of {examples} images at batch {batch} is less than one step"
        )
    if warmup >= total:
        raise UserError(
            f"--config.schedule.warmup_steps={warmup}: the whole run has {total} steps; give fewer, such as "
            f"--config.schedule.warmup_steps={total // 10}"
        )
    return Length(
        epoch=max(1, round(examples / batch)),
        warmup=min(warmup or round(total * schedule.warmup_epochs / epochs), total - 1),
        total=total,
        cooldown=min(round(total * schedule.cooldown_epochs / epochs), total - 1),
    )


def peak_lr(config: Config) -> float:
    """base_lr, scaled by batch_size / base_batch where the recipe asks for it (linear scaling rule)."""
    base = config.schedule.base_batch
    return config.schedule.base_lr * (config.data.batch_size / base if base else 1.0)


def learning_rate(config: Config, length: Length) -> Callable[[jnp.ndarray | int], jnp.ndarray]:
    """Optimizer steps done -> learning rate of the next: timm's CosineLRScheduler, a constant, or mmcv's.

        t < warmup:  warmup_lr + (peak - warmup_lr) * t / warmup
        cosine:      end_lr + (peak - end_lr) / 2 * (1 + cos(pi * t / T)), and end_lr from t = T on
        constant:    peak
        poly:        end_lr + (peak - end_lr) * (1 - t / T) ** power, and end_lr from t = T on
        drops:       peak / 10 ** (drops so far)

    In the warm-up of poly and drops the rate is that of the line above, times what their own formula says of
    t over the peak: mmcv's linear warm-up, of which warmup_lr / peak is the ratio.

    As in timm, the cosine runs over the whole schedule (T is `epochs`, without the cool-down) and the warm-up
    hides its beginning. What t counts is `schedule.clock`:

        step:            optimizer steps
        epoch:           epochs begun before this one, as timm's own training script does it
        finished_epoch:  one less (at least 0): DeiT's script, and those of Next-ViT, UniFormer and CMT that
                         were made from it, step with the index of the epoch that has just ended
    """
    options = config.schedule
    peak, start, end = peak_lr(config), options.warmup_lr, options.end_lr
    steps_of_epoch = length.total / (options.epochs + options.cooldown_epochs)
    if options.clock == "step":
        warmup, whole = float(length.warmup), float(length.total - length.cooldown)
        drops = [drop * steps_of_epoch for drop in options.drops]
    else:
        warmup, whole = options.warmup_epochs, options.epochs
        drops = list(options.drops)

    def rate(step):
        t = jnp.asarray(step, jnp.float32)
        if options.clock != "step":
            t = jnp.floor((t + 0.5) / steps_of_epoch)  # half a step: so that rounding cannot miss a new epoch
        if options.clock == "finished_epoch":
            t = jnp.maximum(t - 1, 0)
        ramp = start + (peak - start) * t / max(warmup, 1e-9)
        # (1 + cos 2x) / 2 = cos(x)^2, which keeps its digits where the cosine ends
        cosine = end + (peak - end) * jnp.square(jnp.cos(jnp.clip(t / whole, 0.0, 1.0) * (math.pi / 2)))
        if options.name == "poly":
            rest = jnp.clip((whole - t) / whole, 0.0, 1.0)  # keeps its digits at the end
            later = end + (peak - end) * jnp.power(rest, options.power)
        elif options.name == "drops":
            later = peak * jnp.power(0.1, sum(jnp.where(t >= drop, 1.0, 0.0) for drop in drops))
        else:
            return jnp.where(t < warmup, ramp, cosine if options.name == "cosine" else peak)
        return later * jnp.where(t < warmup, ramp / peak, 1.0)

    return rate


def due(step: int, every: int, total: int) -> bool:
    """Whether something that happens every `every` steps, and at the end, happens after step `step`."""
    return step == total or (every > 0 and step % every == 0)


def log_interval(every: int, total: int) -> int:
    """Steps between two lines of the log: `every`, or fewer, so that a short run has LINES of them."""
    return min(every, max(1, total // LINES))
