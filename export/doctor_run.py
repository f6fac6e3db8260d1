"""Running the doctor's probes: each in a process of its own, with a time limit, its end put into words."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import export
from export.doctor_probe import MARK

#: Seconds one probe may take: it is over in one, unless a driver hangs or a first engine is compiled.
PROBE_SECONDS = 30.0
#: Seconds all of them may take together; what is left then is not tried.
ALL_SECONDS = 95.0
#: Of what a crashing process said, the last line and no more than this.
_QUOTED = 200


class Prober:
    """Calls `export.doctor_probe`; `clock` and `command` are replaced by tests."""

    def __init__(
        self,
        *,
        probe_seconds: float = PROBE_SECONDS,
        all_seconds: float = ALL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        command: Sequence[str] = (sys.executable, "-m", "export.doctor_probe"),
    ) -> None:
        self._probe_seconds = probe_seconds
        self._clock = clock
        self._end = clock() + all_seconds
        self._command = tuple(command)

    def __call__(self, *arguments: str) -> dict[str, Any]:
        """What the probe said. A probe that did not end well gives {"crash": what happened}, one for which
        no time is left {"skipped": why}; nothing is raised."""
        seconds = min(self._probe_seconds, self._end - self._clock())
        if seconds <= 0:
            return {"skipped": "no time was left for it"}
        try:
            ended = subprocess.run(
                [*self._command, *arguments],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=seconds,
                env=_environment(),
                check=False,
            )
        except subprocess.TimeoutExpired:
            return {"crash": f"no answer within {seconds:.0f} seconds"}
        except OSError as error:
            return {"crash": f"it could not be started: {error.strerror or error}"}
        lines = [line for line in ended.stdout.splitlines() if line.startswith(MARK)]
        if ended.returncode == 0 and lines:
            return json.loads(lines[-1].removeprefix(MARK))
        return {"crash": _how(ended.returncode, ended.stderr)}


def _how(status: int, said: str) -> str:
    last = next((line.strip() for line in reversed(said.splitlines()) if line.strip()), "")
    quoted = f": {last[:_QUOTED]}" if last else ""
    if status < 0:
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = str(-status)
        return f"the process was ended by signal {name}{quoted}"
    return f"the process ended with status {status}{quoted}"


def _environment() -> dict[str, str]:
    """The user's own, with this very package first on Python's path, wherever the command was started."""
    root = str(Path(export.__file__).resolve().parent.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
