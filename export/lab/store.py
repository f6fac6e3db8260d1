"""The results store: JSON lines in a file that only grows."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
from collections.abc import Iterable
from pathlib import Path

from export.lab.record import SCHEMA, Record

_BEGIN = b'{"study": "'


class Store:
    """The records of one file.

    Args:
      path: need not exist yet.

    Attributes:
      records: all that could be read, in the order of the file.
      cut: a line about a last line that ends in the middle (the machine lost its power while it was written):
        it is no record, and the next record begins on a line of its own. None if there is none.

    Raises:
      ValueError: a line that is no record of a schema that is known; the message has its number.
    """

    def __init__(self, path: Path):
        self.path = path
        self.records: list[Record] = []
        self.cut: str | None = None
        lines = path.read_bytes().split(b"\n") if path.is_file() else []
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                self.records.append(_read(line))
            except (ValueError, TypeError, AttributeError) as error:
                if not _cut(line):
                    raise ValueError(f"{path}, line {number}: not a record of the lab: {error}") from error
                # mended where it is the last; before others it is a cut that was appended to
                self.cut = f"{path}, line {number} ends in the middle: left out"

    def append(self, records: Iterable[Record]) -> None:
        """All of one heat in one write, on the disk when this returns; one process at a time."""
        new = list(records)
        data = "".join(json.dumps(dataclasses.asdict(record)) + "\n" for record in new).encode()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            size = os.fstat(file).st_size
            if size and os.pread(file, 1, size - 1) != b"\n":
                data = b"\n" + data
            while data:
                data = data[os.write(file, data) :]
            os.fsync(file)
        finally:
            os.close(file)
        self.records += new


def _read(line: bytes) -> Record:
    found = json.loads(line)
    if found.get("schema") != SCHEMA:
        raise ValueError(f"schema {found.get('schema')!r}, and this version reads {SCHEMA}")
    return Record(**found)


def _cut(line: bytes) -> bool:
    """Whether it begins as a record does and does not end as one."""
    try:
        json.loads(line)
    except ValueError:
        begins = line.startswith(_BEGIN) or _BEGIN.startswith(line)
        return begins and not line.rstrip().endswith(b'"schema": %d}' % SCHEMA)
    return False  # whole: of another schema, or no record at all
