"""Engines that stay open from heat to heat: a calibration measures the same reference again and again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from export.lab.files import Files
from export.lab.rounds import Ready, Sample
from export.lab.runtimes import Runtime
from export.lab.setting import Setting
from export.lab.subject import Subject

#: Open at once: a study's dozen networks and some probes; weights and buffers of each stay in memory.
MOST = 16


class Keeping:
    """A runtime that closes what it prepared when it ends, or when there is too much of it.

    Use it as a context manager. What is measured in a heat is never closed before that heat is over.
    """

    def __init__(self, runtime: Runtime, most: int = MOST):
        self._runtime, self._most = runtime, most
        self.name, self.device = runtime.name, runtime.device
        self._held: dict[str, Kept] = {}

    def __enter__(self) -> Keeping:
        return self

    def __exit__(self, *_: object) -> None:
        for kept in self._held.values():
            kept.ready.close()
        self._held.clear()

    def why_not(self, setting: Setting) -> str | None:
        return self._runtime.why_not(setting)

    def refuses(self, subject: Subject, setting: Setting) -> str | None:
        return self._runtime.refuses(subject, setting)

    def versions(self) -> dict[str, str]:
        return self._runtime.versions()

    def prepare(self, subject: Subject, setting: Setting, files: Files) -> Ready:
        """As of the runtime; the name of a subject does not matter, what it is made of does."""
        key = _key(subject, setting)
        kept = self._held.pop(key, None)
        if kept is None:
            self._make_room()
            kept = Kept(self._runtime.prepare(subject, setting, files))
        self._held[key] = kept  # last in line to be closed
        kept.users += 1
        return kept

    def keep(self, subjects: Sequence[Subject], setting: Setting) -> None:
        """Closes all but these."""
        keys = {_key(subject, setting) for subject in subjects}
        for key in [key for key, kept in self._held.items() if key not in keys and not kept.users]:
            self._held.pop(key).ready.close()

    def _make_room(self) -> None:
        idle = [key for key, kept in self._held.items() if not kept.users]
        for key in idle[: max(0, len(self._held) + 1 - self._most)]:
            self._held.pop(key).ready.close()


def _key(subject: Subject, setting: Setting) -> str:
    return json.dumps([dict(subject.facts), setting.as_dict()], sort_keys=True)


class Kept:
    """Ready to be called; closing it only says that this heat is over."""

    def __init__(self, ready: Ready) -> None:
        self.ready, self.users = ready, 0
        self.clock: str = ready.clock
        self.memory: Mapping[str, int] = ready.memory

    def sample(self, count: int = 1) -> list[Sample]:
        return self.ready.sample(count)

    def reopen(self) -> None:
        self.ready.reopen()

    def close(self) -> None:
        self.users -= 1
