"""What the user sees while training: a progress bar on a terminal, plain lines elsewhere."""

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress


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
    def value(self) -> float:
        return self._images / max(time.perf_counter() - self._since, 1e-9)


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
        self, step: int, loss: float, images_per_second: float, seconds_left: float, line: bool
    ) -> None:
        """Show that `step` steps are done."""
        note = f"loss {loss:.3f}  {images_per_second:,.0f} images/s"
        self._bar.update(self._task, completed=step, note=note)
        if line and not self._console.is_terminal:
            self.say(f"step {step}/{self._total}  {note}  {_duration(seconds_left)} left")


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
