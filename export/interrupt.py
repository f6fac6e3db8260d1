"""Ctrl-C and SIGTERM that are never lost.

Python raises KeyboardInterrupt wherever it happens to be. In a callback (of the import system, of a
destructor, of a native library) the exception is printed and dropped, and the work goes on as if nothing
had been asked. So the wish is kept as well, and looked at between stages.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Interrupted(KeyboardInterrupt):
    """The user or the system wants this to end; `signum` says by which signal."""

    def __init__(self, signum: int) -> None:
        super().__init__()
        self.signum = signum

    @property
    def exit_status(self) -> int:
        """130 for Ctrl-C, 143 for SIGTERM, as shells have it."""
        return 128 + self.signum


class Wish:
    """Remembers the signal that came, if any."""

    signum: int | None = None

    def heard(self, signum: int, frame: FrameType | None) -> None:
        self.signum = signum
        raise Interrupted(signum)

    def check(self) -> None:
        """Raises `Interrupted` if a signal came at any time before."""
        if self.signum is not None:
            raise Interrupted(self.signum)


@contextmanager
def listening() -> Iterator[Wish]:
    """While active, SIGINT and SIGTERM raise `Interrupted` and are remembered. In threads other than the
    main one, where Python allows no handlers, signals stay as they are."""
    wish = Wish()
    if threading.current_thread() is not threading.main_thread():
        yield wish
        return
    told = sys.unraisablehook

    def dropped(what: Any) -> None:
        if not isinstance(what.exc_value, Interrupted):  # one that was dropped in a callback is remembered
            told(what)

    sys.unraisablehook = dropped
    before: dict[int, Any] = {s: signal.signal(s, wish.heard) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield wish
    finally:
        sys.unraisablehook = told
        for signum, handler in before.items():
            signal.signal(signum, handler)
