"""SIGTERM (preemption) and SIGINT (Ctrl-C) become a request to save and stop after the current step."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

import jax


class StopRequest:
    """While entered, notes the first SIGTERM or SIGINT; a second one ends the process at once, unsaved.

    With several hosts SIGTERM on any of them stops all after a common step; SIGINT is not caught.

    Python runs its signal handlers in the main thread, between two instructions, which a compilation of a
    minute is not. A second thread, woken by the signal itself, answers meanwhile.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._previous: dict[int, object] = {}
        self._nothing_to_lose = False
        self._heard = 0
        self._pipe: tuple[int, int] | None = None

    def __enter__(self) -> "StopRequest":
        if jax.process_count() > 1:
            return self  # jax.distributed handles SIGTERM itself, which `agreed` asks about
        self._pipe = os.pipe()
        os.set_blocking(self._pipe[1], False)
        signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._listen, args=(self._pipe[0],), daemon=True)
        self._thread.start()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]
        if self._pipe:
            signal.set_wakeup_fd(-1)
            os.close(self._pipe[1])
            self._thread.join()
            os.close(self._pipe[0])
            self._pipe = None

    @contextlib.contextmanager
    def nothing_to_lose(self, really: bool = True) -> Iterator[None]:
        """While inside, a signal ends the process at once: no step was done since the last checkpoint."""
        if really and self.now():
            raise SystemExit(self.exit_code)
        self._nothing_to_lose = really
        try:
            yield
        finally:
            self._nothing_to_lose = False

    def now(self) -> bool:
        """Whether to break off at once; never with several hosts, where the others would wait."""
        return self.signal is not None and jax.process_count() == 1

    def agreed(self, step: int) -> bool:
        """Whether all hosts are to stop after this step; call it at every step, on every host.

        Preemption reaches hosts one by one; jax's coordination service names a step that all of them
        still have before them, so that no host waits for a collective the others will not enter.
        """
        if jax.process_count() == 1:
            return self.now()
        from jax.experimental import multihost_utils

        return multihost_utils.reached_preemption_sync_point(step)

    @property
    def exit_code(self) -> int:
        """The shell's convention: 143 after SIGTERM, 130 after SIGINT."""
        return 128 + (self.signal or signal.SIGTERM)

    @property
    def name(self) -> str:
        return signal.Signals(self.signal).name if self.signal else "preemption"

    def _note(self, number: int, _: FrameType | None) -> None:
        self.signal = self.signal or number

    def _listen(self, pipe: int) -> None:
        while numbers := os.read(pipe, 1):
            number = numbers[0]
            if number not in (signal.SIGTERM, signal.SIGINT):
                continue
            self._heard += 1
            name = signal.Signals(number).name
            if self._nothing_to_lose:
                _leave(number, f"{name}: nothing to save yet; the same command begins again from here")
            elif self._heard > 1:
                _leave(number, "stopping at once, nothing saved since the last checkpoint")
            else:
                sys.stderr.write(f"\n{name}: saving after this step, then leaving (again: leave at once)\n")
                sys.stderr.flush()


def _leave(number: int, why: str) -> None:
    """End the process whatever its other threads are in; files are complete or under temporary names."""
    show_cursor = "\x1b[?25h" if sys.stderr.isatty() else ""  # the progress bar hid it
    sys.stderr.write(f"\n{show_cursor}{why}\n")
    sys.stderr.flush()
    os._exit(128 + number)
