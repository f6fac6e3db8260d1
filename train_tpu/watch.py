"""Looks at the metrics of every step: are they finite, and are they due to be shown and logged."""

import math
from collections.abc import Callable
from typing import Any

from train_tpu.errors import NotFinite
from train_tpu.metrics import MetricsLog
from train_tpu.progress import Progress, Rate
from train_tpu.schedule import due


class Watch:
    """Settles the metrics of step n while step n + 1 computes, so that the device never waits for the host.

    Args:
      total: steps of the run. batch_size: images a step. every: steps between two lines of the log.
      rate: step -> learning rate. log: None on hosts that do not write.
    """

    def __init__(
        self,
        *,
        total: int,
        batch_size: int,
        every: int,
        rate: Callable,
        progress: Progress,
        log: MetricsLog | None,
    ):
        self.speed = Rate()
        self._total, self._batch_size, self._every = total, batch_size, every
        self._rate, self._progress, self._log = rate, progress, log
        self._pending: tuple[int, dict[str, Any]] | None = None

    def add(self, step: int, metrics: dict[str, Any]) -> None:
        """Settle the step before, and keep this one for later. metrics: scalars, still being computed."""
        self.settle()
        self.speed.add(self._batch_size)
        self._pending = (step, metrics)

    def settle(self) -> None:
        """Wait for the pending step, then check, show and log it.

        Raises:
          NotFinite: loss, gradients or the new weights are not finite.
        """
        if self._pending is None:
            return
        (step, metrics), self._pending = self._pending, None
        values = {name: float(value) for name, value in metrics.items()}
        if not all(map(math.isfinite, values.values())):
            raise NotFinite(
                step,
                f"not finite at step {step}: loss {values['loss']}, gradient norm {values['grad_norm']}, "
                f"norm of the new weights {values['weight_norm']} (try a lower schedule.base_lr, or "
                "optimizer.clip_norm=1)",
            )
        line = due(step, self._every, self._total)
        speed = self.speed.value
        seconds_left = (self._total - step) * self._batch_size / max(speed, 1e-9)
        self._progress.update(step, values["loss"], speed, seconds_left, line)
        if line and self._log:
            lr = float(self._rate(step - 1))
            self._log.write(step, "train", "raw", **values, lr=lr, images_per_second=speed)
