"""For developers: which part of a run is being worked on, so that the crash tests can prove what they hit.

Where the environment variable HVJAX_PHASE_LOG names a file, every phase appends a line when it begins and one
when it ends: `<seconds since 1970> <process id> begin|end <phase>`. A process that was killed leaves open the
phases it was in; several at once where a checkpoint is written beside the steps. Without the variable a phase
costs two look-ups.
"""

import contextlib
import os
import time
from collections.abc import Iterator

VARIABLE = "HVJAX_PHASE_LOG"
COMPILE, STEP, EVALUATE, SAVE, RENAME = "compile", "step", "evaluate", "save", "rename"
RESTORE, FINISH, PREPARE = "restore", "finish", "prepare"


@contextlib.contextmanager
def phase(name: str) -> Iterator[None]:
    """The phase lasts as long as the block, or until the process is no more."""
    begin(name)
    try:
        yield
    finally:
        end(name)


def begin(name: str) -> None:
    """For a phase that ends in another thread."""
    _note("begin", name)


def end(name: str) -> None:
    """Close what `begin` opened."""
    _note("end", name)


def _note(event: str, name: str) -> None:
    path = os.environ.get(VARIABLE)
    if not path:
        return
    # one write of one line: whole even when the process is killed, and in order among threads
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, f"{time.time():.6f} {os.getpid()} {event} {name}\n".encode())
    finally:
        os.close(file)
