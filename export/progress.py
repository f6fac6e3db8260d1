"""What the user sees while an export runs: its stages with their times, on a terminal only."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

#: Width the names of stages are padded to.
_WIDTH = 44
#: Width of a line with a bar, and of the bar alone.
_BAR_WIDTH, _BAR = 100, 20


class Progress:
    """Prints `[2/7] convert ... 4.2 s` as stages begin and end; keeps their seconds for the report.

    `check` is called before and after each stage, and may raise. Nothing is printed when `stream` is no
    terminal: logs get the final summary, not the dots.
    """

    def __init__(self, stages: int, check: Callable[[], None], stream: TextIO | None = None) -> None:
        self._check = check
        self._stream = sys.stderr if stream is None else stream
        self._loud = self._stream.isatty()
        self._total, self._done = stages, 0
        self._head, self._barred = "", False
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, what: str) -> Iterator[None]:
        """`name` is the key in `seconds`, `what` is shown."""
        self._check()
        self._done += 1
        self._head = f"[{self._done}/{self._total}] {what} ".ljust(_WIDTH, ".")
        self._say(self._head, end="")
        start = time.perf_counter()
        try:
            yield
            self._check()
        except BaseException:
            self._say(" stopped")
            raise
        self.seconds[name] = time.perf_counter() - start
        if self._barred:  # the bar took the line of the stage
            self._say("\r" + self._head.ljust(_BAR_WIDTH), end="")
            self._barred = False
        self._say(f" {self.seconds[name]:6.1f} s")

    def bar(self, done: int, total: int, what: str) -> None:
        """Shows in place of the stage's line how far a long stage is, at most `total` steps; may raise as
        `check` does."""
        self._check()
        self._barred = True
        filled = _BAR * done // max(total, 1)
        text = f"      [{'#' * filled}{'.' * (_BAR - filled)}] {done} of at most {total}: {what}"
        self._say("\r" + text[:_BAR_WIDTH].ljust(_BAR_WIDTH), end="")

    def _say(self, text: str, end: str = "\n") -> None:
        if self._loud:
            print(text, end=end, file=self._stream, flush=True)
