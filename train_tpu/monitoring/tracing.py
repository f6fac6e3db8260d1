"""A trace of some steps, for the profiler: `--config.profile.steps=10:20`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from train_tpu.checks import profile_window
from train_tpu.errors import UserError

FOLDER = "profile"


class Tracer:
    """Starts and stops the trace; a context manager, which ends one that is running.

    Args:
      steps: config.profile.steps. workdir: None: no trace (hosts that do not write).
      total: steps of the run. done: steps done before; a window that they have passed is not traced any more.
    Raises:
      UserError: the run has fewer steps.
    """

    def __init__(self, steps: str, workdir: Path | None, total: int, done: int, say: Callable[[str], None]):
        window = profile_window(steps)
        if window and window[1] > total:
            raise UserError(f"--config.profile.steps={steps}: the run has {total} steps")
        self._window = window if workdir is not None and window and done < window[1] else None
        self._folder = (workdir or Path()) / FOLDER
        self._say, self._running = say, False

    def before(self, step: int) -> None:
        """Start with the first step of the window that is done by this process."""
        if self._window and not self._running and self._window[0] <= step <= self._window[1]:
            # Python's own calls would fill the trace with the reading of images
            options = jax.profiler.ProfileOptions()
            options.python_tracer_level = 0
            jax.profiler.start_trace(str(self._folder), create_perfetto_trace=True, profiler_options=options)
            self._running = True

    def after(self, step: int, results: Any) -> None:
        """Stop with the last one, when it is computed. results: arrays of this step."""
        if self._running and self._window and step >= self._window[1]:
            jax.block_until_ready(results)
            self._stop(step)

    def __enter__(self) -> "Tracer":
        return self

    def __exit__(self, *_: object) -> None:
        if self._running:
            self._stop(None)

    def _stop(self, step: int | None) -> None:
        assert self._window is not None
        self._running = False
        jax.profiler.stop_trace()
        written = sorted(self._folder.glob("plugins/profile/*"))
        until = f"steps {self._window[0]} to {step}" if step else "the steps until now"
        where = written[-1] if written else self._folder
        self._say(
            f"trace of {until}: {where}\n"
            f"  open perfetto_trace.json.gz in https://ui.perfetto.dev, or: pip install xprof, then "
            f"xprof --logdir {self._folder}"
        )
        self._window = None
