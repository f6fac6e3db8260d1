"""A program in another environment that answers questions: a line of JSON in, a line of JSON out.

Question: {"do": what, ...}. Answer: {"ok": anything} or {"error": one line}. It ends when its input ends,
so it does not outlive this process, however this one ends.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from export.runtimes import BuildError

#: Seconds in which an idle program ends by itself once its input has ended.
FAREWELL = 5.0


class Worker:
    """The program, started. Close it, or it is closed when this process ends.

    Args:
      command: program and arguments; no shell reads it.
      name: how errors call it.
    """

    def __init__(self, command: Sequence[str], name: str) -> None:
        self._name = name
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `close`; a pipe could fill up)
        try:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
                env=_environment(command[0]),
                start_new_session=True,  # Ctrl-C is for this process, which then ends that one
            )
        except OSError as error:
            self._said.close()
            raise BuildError(f"{name}: {command[0]}: {error.strerror or error}") from error
        self._unread = b""
        atexit.register(self.close)

    def ask(self, question: dict[str, Any], seconds: float) -> Any:
        """The answer.

        Raises:
          BuildError: it says that it cannot, has ended, talks nonsense, or takes longer than `seconds`; after
            the last three it is closed.
        """
        try:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()
        except (OSError, ValueError):  # a broken pipe, or closed before
            raise self._ended() from None
        line = self._line(time.monotonic() + seconds)
        if line is None:
            self.close()
            raise BuildError(f"{self._name}: no answer to {question['do']!r} in {seconds:.0f} s")
        if not line:
            raise self._ended()
        try:
            answer = json.loads(line)
            if "error" in answer:
                raise BuildError(f"{self._name}: {answer['error']}")
            return answer["ok"]
        except (ValueError, KeyError, TypeError):
            self.close()
            raise BuildError(f"{self._name}: not an answer: {line[:80]!r}") from None

    def close(self) -> None:
        """Ends it and all that it started; may be called twice."""
        atexit.unregister(self.close)
        if self._process.returncode is not None and self._said.closed:
            return
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(FAREWELL)
        with contextlib.suppress(ProcessLookupError, PermissionError):  # what it started may live on
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._said.close()

    def _line(self, until: float) -> bytes | None:
        """b"" at the end of its output, None when it is too late."""
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._unread:
                if not selector.select(max(0.0, until - time.monotonic())):
                    return None
                more = os.read(self._process.stdout.fileno(), 65536)
                if not more:
                    return b""
                self._unread += more
        line, self._unread = self._unread.split(b"\n", 1)
        return line

    def _ended(self) -> BuildError:
        """Why, by its last words."""
        if self._said.closed:
            return BuildError(f"{self._name}: it was closed")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(FAREWELL)
        status = self._process.poll()
        self._said.seek(0)
        words = [line for line in self._said.read().decode(errors="replace").splitlines() if line.strip()]
        self.close()
        last = words[-1].strip() if words else "it said nothing"
        return BuildError(f"{self._name} ended with status {status}: {last}")


def _environment(program: str) -> dict[str, str]:
    """PYTHONPATH is for this interpreter: packages of another version break the other one."""
    return {k: v for k, v in os.environ.items() if k != "PYTHONPATH" or program == sys.executable}
