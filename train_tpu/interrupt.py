"""SIGTERM (preemption) and SIGINT (Ctrl-C) become a request to save and stop after the current step."""

import signal
import sys
from types import FrameType

import jax


class StopRequest:
    """While entered, notes the first SIGTERM or SIGINT; a second one stops at once, without saving.

    With several hosts SIGTERM on any of them stops all after a common step; SIGINT is not caught.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "StopRequest":
        if jax.process_count() > 1:
            return self  # jax.distributed handles SIGTERM itself, which `agreed` asks about
        for number in (signal.SIGTERM, signal.SIGINT):
            self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]

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
        if self.signal is not None:
            sys.stderr.write("\nstopping at once, nothing saved since the last checkpoint\n")
            raise SystemExit(128 + number)
        self.signal = number
        sys.stderr.write(
            f"\n{signal.Signals(number).name}: saving after this step, then leaving (again: leave at once)\n"
        )
        sys.stderr.flush()
