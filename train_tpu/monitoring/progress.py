"""What the user sees while training: a progress bar on a terminal, plain lines elsewhere."""

import threading
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

Batch = TypeVar("Batch")


class Rate:
    """Images per second since the last `restart` (which compilation and evaluation call)."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self._since = time.perf_counter()
        self._images = 0

    def add(self, images: int) -> None:
        self._images += images

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._since

    @property
    def value(self) -> float:
        return self._images / max(self.seconds, 1e-9)


class Progress:
    """Step counter with loss, images/s and the time left; a context manager.

    On a terminal: a bar that stays at the bottom, `say` prints above it. Otherwise: `update` with
    `line=True` prints one line, and nothing is ever overwritten.
    """

    def __init__(self, total: int, done: int, enabled: bool = True, console: Console | None = None):
        self._console = console or Console(soft_wrap=True)
        self._enabled = enabled
        self._total = total
        self._bar = RichProgress(
            TextColumn("train"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(compact=True),
            console=self._console,
            disable=not (enabled and self._console.is_terminal),
        )
        self._task = self._bar.add_task("train", total=total, completed=done, note="compiling ...")

    def __enter__(self) -> "Progress":
        if not self._console.is_terminal:  # the bar says it itself
            self.say("compiling the training step ...")
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def say(self, text: str) -> None:
        """Print above the bar."""
        if self._enabled:
            self._console.print(text, markup=False, highlight=False)
            self._console.file.flush()

    def update(
        self,
        step: int,
        loss: float,
        images_per_second: float,
        seconds_left: float,
        line: bool,
        more: str = "",
    ) -> None:
        """Show that `step` steps are done. more: stands behind images/s."""
        note = f"loss {loss:.3f}  {images_per_second:,.0f} images/s" + (f"  {more}" if more else "")
        self._bar.update(self._task, completed=step, note=note)
        if line and not self._console.is_terminal:
            self.say(f"step {step}/{self._total}  {note}  {_duration(seconds_left)} left")

    def evaluating(self, batches: Iterable[Batch], batch_size: int, total: int) -> Iterator[Batch]:
        """The batches, while the bar says how far the evaluation is.

        Args:
          batch_size: images of a batch, over all hosts. total: images.
        """
        rate = Rate()
        for done, batch in enumerate(batches):
            images = min(done * batch_size, total)
            speed = images / max(rate.seconds, 1e-9)
            left = f"  {speed:,.0f} images/s  {_duration((total - images) / speed)} left" if images else ""
            self._bar.update(self._task, note=f"evaluating {images:,}/{total:,}{left}")
            yield batch


class Counting:
    """How far a command is through its images, with rate and time left; a context manager.

    On a terminal: a bar that goes when it is done. Otherwise: a line every LINE_SECONDS. done: images that
    an earlier call did.
    """

    LINE_SECONDS = 20.0

    def __init__(self, what: str, total: int, console: Console | None = None, done: int = 0):
        self._console = console or Console(soft_wrap=True)
        self._what, self._total, self._done = what, total, done
        self._lock = threading.Lock()
        self._rate = Rate()
        self._lines = 0
        self._bar = RichProgress(
            TextColumn(what),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(compact=True),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task(what, total=total, completed=done, note="")

    def __enter__(self) -> "Counting":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def add(self, count: int = 1) -> None:
        """So many more are done; any thread may say so."""
        with self._lock:
            self._add(count)

    def _add(self, count: int) -> None:
        self._done += count
        self._rate.add(count)
        speed = self._rate.value
        self._bar.update(self._task, completed=self._done, note=f"{speed:,.0f} images/s")
        if not self._console.is_terminal and self._rate.seconds > (self._lines + 1) * self.LINE_SECONDS:
            self._lines = int(self._rate.seconds / self.LINE_SECONDS)
            left = _duration((self._total - self._done) / max(speed, 1e-9))
            note = f"{self._what} {self._done:,}/{self._total:,}  {speed:,.0f} images/s  {left} left"
            self._console.print(note, markup=False, highlight=False)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
