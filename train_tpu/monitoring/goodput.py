"""Goodput: the share of the time a run was given that went into training steps.

Every second between the start of a process and its end is put down once: to the device's work on training
steps, or, while it does nothing of that kind, to what the host is busy with (compiling, waiting for input,
evaluating, handing over a checkpoint, ...). So data that is read while the device computes costs nothing, as
it should. The record of all processes of a run is WORKDIR/goodput.json; it survives kills and resumes.
"""

import contextlib
import itertools
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from train_tpu.checkpointing.workdir import write_json

FILE = "goodput.json"
FORMAT = 1
STEPS, LOST = "steps", "lost"
START, COMPILE, INPUT, EVALUATION, CHECKPOINT, OTHER = (
    "start",
    "compile",
    "input",
    "evaluation",
    "checkpoint",
    "other",
)
PHRASES = {  # for the summary, in this order
    COMPILE: "compiling",
    INPUT: "waiting for input",
    EVALUATION: "evaluation",
    CHECKPOINT: "checkpoints",
    START: "starting and restoring",
    LOST: "steps done twice",
    OTHER: "other",
}
Interval = tuple[float, float]


def attribute(idle: Interval, phases: Sequence[tuple[str, float, float]]) -> dict[str, float]:
    """Share out an interval in which the device did no training step.

    Args:
      idle: (begin, end) in seconds.
      phases: (name, begin, end) of what the host did, one after the other.
    Returns:
      Seconds by name; "other" is what no phase covers. They sum up to the interval.
    """
    begin, end = idle
    seconds: dict[str, float] = {}
    for name, first, last in phases:
        overlap = min(last, end) - max(first, begin)
        if overlap > 0:
            seconds[name] = seconds.get(name, 0.0) + overlap
    rest = (end - begin) - sum(seconds.values())
    if rest > 0:
        seconds[OTHER] = rest
    return seconds


class Goodput:
    """The clock of this process; its record joins those of the processes before it.

    Args:
      workdir: where the record is kept; None keeps none (hosts that do not write).
      step: the last step that is done.
      began: when the process began, by time.perf_counter.
    """

    def __init__(self, workdir: Path | None, step: int, began: float):
        now = time.perf_counter()
        self._path = workdir / FILE if workdir is not None else None
        self._sessions = _read(self._path)
        _move_lost(self._sessions, step)
        self._seconds = {START: now - began}
        self._session: dict[str, Any] = {"began": time.time() - (now - began), "first_step": step + 1}
        self._last_step = step
        self._free_since = now  # when the device was done with the last training step
        self._phases: list[tuple[str, float, float]] = []
        self._since_line = (now, 0.0)  # time, and seconds waited for input, at the last line of the log
        self.host_free = now  # when the host was done with what it did last, and could ask for a step

    @contextlib.contextmanager
    def doing(self, name: str) -> Iterator[None]:
        """What the host does in this block; it costs the time in which the device does no step meanwhile."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.host_free = time.perf_counter()
            self._phases.append((name, begin, self.host_free))

    def compiled(self, since: float) -> None:
        """The first step of this process, which is counted as compilation, is done."""
        now = time.perf_counter()
        self._phases.append((COMPILE, since, now))
        self._since_line = (now, 0.0)

    def __enter__(self) -> "Goodput":
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # a full disk, which is being told already
            self.record(until_now=True)

    def step_done(self, step: int, dispatched: float, ready: float) -> None:
        """A training step is computed.

        Args:
          dispatched: when the host asked for it. ready: when its results were there.
        """
        begin = max(dispatched, self._free_since)
        self._put(attribute((self._free_since, begin), self._phases))
        self._add(STEPS, max(0.0, ready - begin))
        self._free_since = max(ready, self._free_since)
        self._phases = [phase for phase in self._phases if phase[2] > self._free_since]
        self._last_step = step

    def went_back(self, step: int) -> None:
        """The run goes on after `step`: what was done since is lost."""
        self._close_gap()
        session = {**self._session, "last_step": self._last_step, "seconds": self._seconds}
        _move_lost([session], step)
        self._last_step = min(step, self._last_step)

    def input_share(self) -> float:
        """Of the time since the last call, what was spent waiting for input with the device idle."""
        (then, waited), now = self._since_line, time.perf_counter()
        total = self._seconds.get(INPUT, 0.0)
        self._since_line = (now, total)
        return min(1.0, (total - waited) / max(now - then, 1e-9))

    def record(self, until_now: bool = False) -> dict[str, Any]:
        """Write the record, and return what it comes to: see `summed`.

        Args:
          until_now: no step is being computed, so the time since the last one can be put down too.
        """
        if until_now:
            self._close_gap()
        now = time.time()
        session = {
            **self._session,
            "ended": now,
            "last_step": self._last_step,
            "seconds": dict(self._seconds),
        }
        found = summed([*self._sessions, session])
        if self._path is not None:
            content = {"format": FORMAT, **found, "sessions": [*self._sessions, session]}
            write_json(self._path, content, durable=False)  # often, and no training depends on it
        return found

    def _close_gap(self) -> None:
        """Put down what has passed since the last step, as if the next one began now."""
        now = time.perf_counter()
        if now > self._free_since:
            self._put(attribute((self._free_since, now), self._phases))
            self._free_since, self._phases = now, []

    def _put(self, seconds: dict[str, float]) -> None:
        for name, value in seconds.items():
            self._add(name, value)

    def _add(self, name: str, seconds: float) -> None:
        self._seconds[name] = self._seconds.get(name, 0.0) + seconds


def summed(sessions: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Over all processes of a run: {"goodput": share, "wall_seconds", "down_seconds", "seconds": by name}.

    wall_seconds: in which a process ran. down_seconds: between the end of one and the start of the next;
    nobody can know whether the run waited for a machine or was not wanted, so the goodput leaves them out.
    """
    seconds: dict[str, float] = {}
    for session in sessions:
        for name, value in session["seconds"].items():
            seconds[name] = seconds.get(name, 0.0) + value
    wall = sum(seconds.values())
    gaps = itertools.pairwise(sessions)
    return {
        "goodput": seconds.get(STEPS, 0.0) / wall if wall else 0.0,
        "wall_seconds": wall,
        "down_seconds": sum(max(0.0, after["began"] - before["ended"]) for before, after in gaps),
        "seconds": seconds,
    }


def said(found: dict[str, Any]) -> str:
    """The line at the end of a run."""
    wall = max(found["wall_seconds"], 1e-9)
    parts = [(PHRASES[name], found["seconds"].get(name, 0.0) / wall) for name in PHRASES]
    rest = ", ".join(f"{phrase} {share:.1%}" for phrase, share in parts if share >= 0.001)
    return f"goodput {found['goodput']:.1%} of {_clock(wall)}" + (f"; {rest}" if rest else "")


def _clock(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02} h" if hours else f"{minutes}:{seconds:02} min"


def _move_lost(sessions: list[dict[str, Any]], step: int) -> None:
    """Steps after `step` will be done again: their share of the time that went into steps was lost."""
    for session in sessions:
        done = session["last_step"] - session["first_step"] + 1
        again = min(done, session["last_step"] - step)
        if again > 0:
            seconds = session["seconds"]
            lost = seconds.get(STEPS, 0.0) * again / done
            seconds[STEPS] = seconds.get(STEPS, 0.0) - lost
            seconds[LOST] = seconds.get(LOST, 0.0) + lost
            session["last_step"] = session["last_step"] - again


def _read(path: Path | None) -> list[dict[str, Any]]:
    """The processes before; none if there is no record, or a damaged one, which no training depends on."""
    try:
        found = json.loads(path.read_text()) if path is not None else {}
        sessions = [
            {
                "began": float(s["began"]),
                "ended": float(s["ended"]),
                "first_step": int(s["first_step"]),
                "last_step": int(s["last_step"]),
                "seconds": {str(name): float(value) for name, value in s["seconds"].items()},
            }
            for s in found.get("sessions", ())
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
    return sessions
