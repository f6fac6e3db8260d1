"""What the user sees while the lab measures: how far it is, how fast it goes, when it ends, and what is done
now."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from typing import TextIO

_CELLS = 20
#: Seconds between two paintings of the line, so that the bar takes no time from what is measured.
_EVERY = 0.5
_MINUTE, _HOUR = 60, 3600


class Bar:
    """On a terminal one line that is painted again and again; elsewhere a line for each thing that is said.

    Args:
      total: steps, each a contender prepared and measured.
      stream: stderr by default.
      clock: seconds.
      check: called whenever something is said or over; may raise, to end the work.
    """

    def __init__(
        self,
        total: int,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._check = check
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._total, self._done, self._part, self._old = total, 0, 0.0, 0
        self._start, self._painted = clock(), float("-inf")
        self._text, self._width = "", 0

    def say(self, text: str) -> None:
        """What is done now."""
        self._check()
        self._text = text
        if self._stream.isatty():
            self._paint()
        else:
            print(f"[{self._count()}] {text}", file=self._stream, flush=True)

    def expect(self, count: int) -> None:
        """More steps than was known at first."""
        self._total += count

    def advance(self, steps: float) -> None:
        """So many steps, or parts of one, are over that `step` does not know of yet."""
        self._check()
        self._part = steps
        if self._stream.isatty() and self._clock() - self._painted >= _EVERY:
            self._paint()

    def step(self, count: int = 1, *, old: bool = False) -> None:
        """`old`: they took no time, as they were measured before."""
        self._check()
        self._done, self._part = self._done + count, 0.0
        self._old += count if old else 0
        if self._stream.isatty():
            self._paint()

    def close(self) -> None:
        if self._stream.isatty() and self._width:
            print(file=self._stream)

    def _paint(self) -> None:
        share = min(1.0, (self._done + self._part) / max(self._total, 1))
        filled = round(_CELLS * share)
        line = f"[{'#' * filled}{'.' * (_CELLS - filled)}] {self._count()} | {self._text}"
        line = line[: shutil.get_terminal_size().columns - 1]
        print("\r" + line.ljust(self._width), end="", file=self._stream, flush=True)
        self._width, self._painted = len(line), self._clock()

    def _count(self) -> str:
        """3/12, 4.1 a minute, 2:11 left"""
        text = f"{self._done}/{self._total}"
        new = self._done + self._part - self._old
        past = self._clock() - self._start
        if new <= 0 or past <= 0:
            return text
        left = past / new * max(0.0, self._total - self._done - self._part)
        return f"{text}, {_MINUTE * new / past:.1f} a minute, {_duration(left)} left"


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole >= _HOUR:
        return f"{whole // _HOUR}:{whole % _HOUR // _MINUTE:02d}:{whole % _MINUTE:02d}"
    return f"{whole // _MINUTE}:{whole % _MINUTE:02d}"
