"""Batches on the devices before the step asks for them."""

import collections
import json
import queue
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from train_tpu.data.watchdog import Watchdog

Batch = TypeVar("Batch")
AHEAD = 2
PATIENCE = 5.0  # seconds for a reading thread to end with the run


class Prefetched(Generic[Batch]):
    """An endless iterator that reads ahead in a thread; its state is that of the batch to be given next.

    The checkpoint handler of grain saves `get_state()` and restores it by `set_state()`, so what was read
    ahead and not used is read again after a resume.

    Args:
      batches: grain's iterator.
      put: brings a batch to the devices; called in the reading thread.
      ahead: how many batches at most lie ready; 0 = read when asked, without a thread.
      watchdog: told who waits.
    """

    def __init__(
        self,
        batches: Any,
        put: Callable[[Any], Batch],
        ahead: int = AHEAD,
        watchdog: Watchdog | None = None,
    ):
        self._batches = batches
        self._put = put
        self._ahead = ahead
        self._watchdog = watchdog or Watchdog(0)
        self._reader: _Reader | None = None

    def __iter__(self) -> "Prefetched[Batch]":
        return self

    def __next__(self) -> Batch:
        with self._watchdog.waiting():
            if not self._ahead:
                return self._put(next(self._batches))
            if self._reader is None:
                self._reader = _Reader(self._batches, self._put, self._ahead)
            return self._reader.take()

    def get_state(self) -> bytes:
        """The position of the batch that `next` would give, as JSON."""
        state = self._batches.get_state() if self._reader is None else self._reader.state()
        return json.dumps(state, indent=4).encode()

    def set_state(self, state: bytes) -> None:
        """Go on from a position that `get_state` gave."""
        self._stop()
        self._batches.set_state(json.loads(state))

    def start_prefetch(self) -> None:
        """Begin to read ahead now rather than at the first `next`."""
        if self._ahead and self._reader is None:
            self._reader = _Reader(self._batches, self._put, self._ahead)

    def close(self) -> None:
        """End the reading thread (one that is stuck is left behind) and the loader's own."""
        self._stop(PATIENCE)
        self._watchdog.close()
        close = getattr(self._batches, "close", None)
        if close:
            close()

    def _stop(self, seconds: float | None = None) -> None:
        if self._reader is not None:
            self._reader.stop(seconds)
            self._reader = None


class _Reader:
    """The thread, and the batches that lie ready, each with the position before it."""

    def __init__(self, batches: Any, put: Callable[[Any], Any], ahead: int):
        self._batches = batches
        self._put = put
        self._room = threading.Semaphore(ahead)
        self._ready: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._positions: collections.deque[Any] = collections.deque([batches.get_state()])
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="data-prefetch", daemon=True)
        self._thread.start()

    def take(self) -> Any:
        kind, value = self._ready.get()
        if kind == "error":
            self._ready.put((kind, value))  # whoever asks again is told again
            raise value
        self._positions.popleft()
        self._room.release()
        return value

    def state(self) -> Any:
        """The position before the oldest batch that was not taken."""
        return self._positions[0]

    def stop(self, seconds: float | None) -> None:
        self._stopped = True
        self._room.release()
        self._thread.join(seconds)

    def _run(self) -> None:
        try:
            while True:
                self._room.acquire()
                if self._stopped:
                    return
                batch = next(self._batches)
                if self._stopped:
                    return
                batch = self._put(batch)
                # before the batch can be taken: the position after it is then the oldest
                self._positions.append(self._batches.get_state())
                self._ready.put(("batch", batch))
        except BaseException as error:
            self._ready.put(("error", error))
