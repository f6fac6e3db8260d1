"""Shares by kind that a study took, kept in a file beside its records, so that nothing is profiled twice."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from export import provenance
from export.lab.profile.kinds import shares, unknown
from export.lab.profile.op import Profile
from export.lab.setting import Setting
from export.lab.subject import Subject


@dataclass(frozen=True)
class Kept:
    """What a study keeps of a profile. `shares`: of the time of all operations, by kind."""

    shares: Mapping[str, float]
    total_ms: float
    latency_ms: float
    profiled_ms: float
    runs: int
    unknown: tuple[str, ...] = ()

    @staticmethod
    def of(profile: Profile) -> Kept:
        return Kept(
            shares(profile.ops),
            profile.total_ms,
            profile.latency_ms,
            profile.profiled_ms,
            profile.runs,
            tuple(unknown(profile.ops)),
        )


class KeptFile:
    """JSON lines; the last one of a contender counts.

    Args:
      anywhere: take what other machines wrote too.

    Raises:
      ValueError: a line that is no such profile; the message has its number.
    """

    def __init__(self, path: Path, *, anywhere: bool = False):
        self.path = path
        self._held: dict[str, Kept] = {}
        machine = provenance.machine()
        lines = path.read_text().splitlines() if path.is_file() else []
        for number, line in enumerate(lines, 1):
            try:
                found = json.loads(line)
                kept = Kept(**{**found["profile"], "unknown": tuple(found["profile"]["unknown"])})
                if anywhere or found["machine"] == machine:
                    self._held[found["of"]] = kept
            except (ValueError, TypeError, KeyError) as error:
                raise ValueError(f"{path}, line {number}: not a kept profile: {error}") from error

    def get(self, subject: Subject, setting: Setting, runtime: str) -> Kept | None:
        return self._held.get(_identity(subject, setting, runtime))

    def put(self, subject: Subject, setting: Setting, runtime: str, kept: Kept) -> None:
        key = _identity(subject, setting, runtime)
        line = json.dumps({"of": key, "machine": provenance.machine(), "profile": asdict(kept)}) + "\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(file, line.encode())
        finally:
            os.close(file)
        self._held[key] = kept


def _identity(subject: Subject, setting: Setting, runtime: str) -> str:
    known: dict[str, Any] = {
        "name": subject.name,
        "facts": dict(subject.facts),
        "setting": setting.as_dict(),
        "runtime": runtime,
    }
    return json.dumps(known, sort_keys=True)
