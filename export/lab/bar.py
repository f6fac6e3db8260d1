"""What the user sees while the lab measures: one line with what is done now, how far it is, and when it ends."""

from __future__ import annotations

import sys
import time
from typing import TextIO


class Bar:
    """`total` steps, each a subject prepared and measured; on a terminal one line, else a line per heat."""

    def __init__(self, total: int, stream: TextIO | None = None):
        self._stream = sys.stderr if stream is None else stream
        self._total, self._done, self._start = total, 0, time.monotonic()

    def say(self, text: str) -> None:
        past = time.monotonic() - self._start
        left = f", {past / self._done * (self._total - self._done):.0f} s left" if self._done else ""
        line = f"[{self._done}/{self._total}{left}] {text}"
        if self._stream.isatty():
            print("\r" + line[:120].ljust(120), end="", file=self._stream, flush=True)
        else:
            print(line, file=self._stream, flush=True)

    def expect(self, count: int) -> None:
        """More steps than was known at first."""
        self._total += count

    def advance(self, share: float) -> None:
        """How far the heat is that is measured now."""

    def step(self, count: int = 1) -> None:
        self._done += count

    def close(self) -> None:
        if self._stream.isatty():
            print(file=self._stream)
