"""Looks at the metrics of every step: are they finite, and are they due to be shown and logged."""

import math
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax

from train_tpu.errors import NotFinite
from train_tpu.learning.schedule import due
from train_tpu.monitoring.goodput import Goodput
from train_tpu.monitoring.metrics import MetricsLog
from train_tpu.monitoring.progress import Progress, Rate


class Watch:
    """Settles the metrics of step n while step n + 1 computes, so that the device never waits for the host.

    Args:
      total: steps of the run. batch_size: images a step. every: steps between two lines of the log.
      rate: step -> learning rate. log: None on hosts that do not write.
      utilisation: MFU at one image a second; None where it is not known.
      goodput: is told when the device was done with each step.
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
        goodput: Goodput,
        utilisation: float | None = None,
    ):
        self.speed = Rate()
        self._total, self._batch_size, self._every = total, batch_size, every
        self._rate, self._progress, self._log = rate, progress, log
        self._goodput, self._utilisation = goodput, utilisation
        self._pending: tuple[int, dict[str, Any], float, Future[float]] | None = None
        self._first: int | None = None
        self._input_wait = 0.0  # share of the time since the last line
        # one thread that waits for results: the only way to know when the device was done
        self._clock = ThreadPoolExecutor(1, "step-clock")

    def add(self, step: int, metrics: dict[str, Any]) -> None:
        """Settle the step before, and keep this one for later. metrics: scalars, still being computed."""
        self.settle()
        self.speed.add(self._batch_size)
        ready = self._clock.submit(_when_ready, metrics)
        self._pending = (step, metrics, self._goodput.host_free, ready)

    def settle(self) -> None:
        """Wait for the pending step, then check, show and log it.

        Raises:
          NotFinite: loss, gradients or the new weights are not finite.
        """
        if self._pending is None:
            return
        (step, metrics, dispatched, ready), self._pending = self._pending, None
        values = {name: float(value) for name, value in metrics.items()}
        if self._first is None:
            self._first = step
            self._goodput.compiled(dispatched)
        else:
            self._goodput.step_done(step, dispatched, ready.result())
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
        mfu = None if self._utilisation is None else speed * self._utilisation
        self._progress.update(step, values["loss"], speed, seconds_left, line, self._more(mfu, line))
        if line and self._log:
            lr = float(self._rate(step - 1))
            clocks = {"images_per_second": speed, "input_wait": self._input_wait}
            clocks |= {"goodput": self._goodput.record()["goodput"]}
            clocks |= {} if mfu is None else {"mfu": mfu}
            self._log.write(step, "train", "raw", **values, lr=lr, **clocks)

    def _more(self, mfu: float | None, line: bool) -> str:
        """What stands behind images/s."""
        if line:
            self._input_wait = self._goodput.input_share()
        parts = [] if mfu is None else [f"MFU {mfu:.1%}"]
        return "  ".join([*parts, f"input wait {self._input_wait:.0%}"])


def _when_ready(metrics: dict[str, Any]) -> float:
    jax.block_until_ready(metrics)
    return time.perf_counter()
