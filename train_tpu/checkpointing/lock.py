"""One run at a time in a workdir."""

import contextlib
import fcntl
import json
import os
import socket
from pathlib import Path

from train_tpu.errors import UserError

FILE = "lock"


class InUse(UserError):
    """Another process holds the folder."""


class Lock:
    """The workdir belongs to this process until the object is released or the process ends, however it ends.

    A POSIX record lock on WORKDIR/lock: the kernel drops it when its process dies, so there is nothing stale
    to clean up after a crash; NFS passes it on to other hosts. The content of the file is for the message.

    Raises:
      InUse: another process holds it. UserError: the workdir cannot be written to.
    """

    def __init__(self, workdir: Path):
        path = workdir / FILE
        self._file = -1
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise UserError(f"cannot write to workdir {workdir}: {error.strerror}") from error
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            owner = _owner(self._file)
            raise InUse(
                f"workdir {workdir} is in use by another run{owner}; wait for its end, or choose another "
                "--workdir"
            ) from error
        except OSError:  # a file system without locks: there is nothing to be known
            return
        owner = json.dumps({"host": socket.gethostname(), "pid": os.getpid()})
        with contextlib.suppress(OSError):  # a full disk is the business of what must be written
            os.truncate(self._file, 0)
            os.pwrite(self._file, f"{owner}\n".encode(), 0)

    def release(self) -> None:
        """Let others in. Safe to repeat."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __del__(self) -> None:
        self.release()


def _owner(file: int) -> str:
    """' (process 12 on host)', or '' while the other one is still writing it."""
    try:
        said = json.loads(os.pread(file, 1000, 0))
        return f" (process {said['pid']} on {said['host']})"
    except (ValueError, KeyError, TypeError):
        return ""
