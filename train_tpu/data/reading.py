"""One example from its source into a row of a batch, with an account of what cannot be read."""

import dataclasses
import os
import stat
from collections.abc import Callable
from typing import Any, TypeVar

import grain

from train_tpu.config import Config
from train_tpu.data.quarantine import CorruptImages
from train_tpu.data.sources import name_of
from train_tpu.data.watchdog import Watchdog

Made = TypeVar("Made")
PREFETCH_BATCHES = 4


@dataclasses.dataclass(frozen=True, repr=False)  # grain prints what it calls: not the whole source
class Reader:
    """Examples out of the source; those that cannot be read are None, which grain skips."""

    source: Any
    corrupt: CorruptImages
    watchdog: Watchdog

    def row(self, index: int, make: Callable[[Any], Made]) -> Made | None:
        """What `make` makes of the example; None, and a line in the account, after its ValueError."""
        name = name_of(self.source, index)
        try:
            self.watchdog.at("reading", name)
            example = self.source[index]
            self.watchdog.at("decoding", name)
            return make(example)
        except ValueError as error:
            self.corrupt.report(name, str(error).splitlines()[0] if str(error) else "unreadable")
            return None
        finally:
            self.watchdog.idle()


def file_bytes(path: str) -> bytes:
    """What a regular file holds.

    Raises:
      ValueError: there is none, or it cannot be read, or is a device or a pipe, which may never end.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ValueError("not a regular file")
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from error


def read_options(data: Config, batch_size: int) -> grain.ReadOptions:
    """Threads and what they read ahead."""
    if not data.threads:  # no prefetch buffer either: grain allows one only with threads
        return grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    return grain.ReadOptions(num_threads=data.threads, prefetch_buffer_size=PREFETCH_BATCHES * batch_size)
