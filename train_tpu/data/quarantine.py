"""The account of images that cannot be read: they are left out, listed, and stop the run when too many."""

import contextlib
import datetime
import json
import threading
from pathlib import Path

from train_tpu.errors import RunFailed

FILE = "quarantine.jsonl"


class CorruptImages:
    """Counts and names the images that could not be read. Shared by the reading threads.

    `report` stops the run once more than `max_share` of the `total` images are known to be bad: from
    inside the reading thread, since a folder of nothing but bad images would never fill a batch.
    """

    def __init__(self, total: int, max_share: float):
        self._limit = max_share * total
        self._total = total
        self._lock = threading.Lock()
        self._reasons: dict[str, str] = {}
        self._file: Path | None = None
        self._listed: set[str] = set()

    def keep_in(self, directory: Path, host: int = 0) -> None:
        """List them in DIRECTORY/quarantine.jsonl (quarantine-N.jsonl on host N) from now on, each once.

        A line is {"name": path of the image, "reason": ..., "when": ISO time}. What the file already says
        stays, and is not said again after a resume.
        """
        with self._lock:
            self._file = directory / (FILE if not host else f"quarantine-{host}.jsonl")
            self._listed = _names_in(self._file)
            for name, reason in self._reasons.items():
                self._write(name, reason)

    def report(self, name: str, reason: str) -> None:
        """Note one bad image; the same one again (next epoch) counts once.

        Raises:
          RunFailed: there are too many.
        """
        with self._lock:
            self._reasons[name] = reason
            self._write(name, reason)
            if len(self._reasons) > self._limit:
                raise RunFailed(
                    f"{len(self._reasons)} of {self._total} images cannot be read, more than "
                    f"--config.data.max_corrupt allows; the last one: {name} ({reason})"
                )

    def __len__(self) -> int:
        return len(self._reasons)

    def __contains__(self, name: str) -> bool:
        return name in self._reasons

    def listing(self, count: int = 20) -> str:
        """'' if all is well, else one line per image, at most `count`."""
        with self._lock:
            reasons = sorted(self._reasons.items())
        if not reasons:
            return ""
        lines = [f"{len(reasons)} unreadable image{'s' * (len(reasons) > 1)} skipped:"]
        lines += [f"  {name}: {reason}" for name, reason in reasons[:count]]
        if len(reasons) > count:
            lines.append(f"  ... and {len(reasons) - count} more")
        return "\n".join(lines)

    def _write(self, name: str, reason: str) -> None:
        if self._file is None or name in self._listed:
            return
        self._listed.add(name)
        when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        line = json.dumps({"name": name, "reason": reason, "when": when})
        # a full disk stops the run where something must be written, not here
        with contextlib.suppress(OSError), self._file.open("a") as file:
            file.write(line + "\n")


def _names_in(file: Path) -> set[str]:
    names = set()
    with contextlib.suppress(OSError):
        for line in file.read_text().splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):  # a line that a crash cut off
                names.add(json.loads(line)["name"])
    return names
