"""Says where a loader stands that gives no batch: which thread reads or decodes what, since when."""

import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

Say = Callable[[str], None]
STACK_LINES = 6  # innermost calls that are shown of a thread


class _Work(NamedTuple):
    doing: str
    name: str
    since: float


class Watchdog:
    """Speaks when someone has waited for a batch for `seconds`, again after twice as long, and so on.

    It never stops anything. Time in which nobody waits (compilation, evaluation, saving) does not count.

    Args:
      seconds: 0 = never speaks.
      say: where to; stderr by default.
    """

    def __init__(self, seconds: float, say: Say | None = None):
        self._seconds = seconds
        self._say = say or _to_stderr
        self._work: dict[int, _Work] = {}  # by thread; each thread writes its own entry only
        self._waiting: dict[int, float] = {}  # by thread: since when
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._closed = False

    def at(self, doing: str, name: str) -> None:
        """The calling thread is now `doing` ("reading", "decoding") the image `name`."""
        self._work[threading.get_ident()] = _Work(doing, name, time.monotonic())

    def idle(self) -> None:
        """The calling thread is done with its image."""
        self._work.pop(threading.get_ident(), None)

    def waiting(self) -> "_Waiting":
        """A context in which the calling thread waits for a batch."""
        if self._seconds and self._thread is None and not self._closed:
            self._thread = threading.Thread(target=self._run, name="data-watchdog", daemon=True)
            self._thread.start()
        return _Waiting(self._waiting)

    def report(self, waited: float) -> str:
        """Where each thread stands now."""
        now, frames = time.monotonic(), sys._current_frames()
        lines = [f"warning: no batch of images for {waited:.0f} s; where the loader stands:"]
        work = sorted(self._work.copy().items(), key=lambda item: item[1].since)
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        for ident, (doing, name, since) in work:
            lines.append(f"  {names.get(ident, ident)}: {doing} {name} since {now - since:.0f} s")
            lines += _stack(frames.get(ident))
        if not work:
            lines.append("  no thread is reading or decoding an image; who waits:")
            for ident in self._waiting.copy():
                lines += [f"  {names.get(ident, ident)}", *_stack(frames.get(ident))]
        return "\n".join(lines)

    def close(self) -> None:
        """End the watching thread. Safe to repeat."""
        self._closed = True
        self._wake.set()

    def _run(self) -> None:
        spoken: dict[float, float] = {}  # since when it waits -> after how long to speak next
        while not self._wake.wait(min(self._seconds / 4, 5.0)):
            now = time.monotonic()
            waits = sorted(self._waiting.copy().values())
            for since in [s for s in spoken if s not in waits]:
                del spoken[since]
            if not waits:
                continue
            waited = now - waits[0]
            if waited >= spoken.setdefault(waits[0], self._seconds):
                spoken[waits[0]] = 2 * max(waited, self._seconds)
                self._say(self.report(waited))


class _Waiting:
    def __init__(self, waiting: dict[int, float]):
        self._waiting = waiting

    def __enter__(self) -> None:
        self._waiting[threading.get_ident()] = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._waiting.pop(threading.get_ident(), None)


def _stack(frame: Any) -> list[str]:
    if frame is None:
        return []
    calls = traceback.extract_stack(frame)[-STACK_LINES:]
    return [f"    {call.filename}:{call.lineno} in {call.name}" for call in calls]


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
