"""The results store: JSON lines in a file that only grows."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable
from pathlib import Path

from export.lab.record import SCHEMA, Record


class Store:
    """The records of one file.

    Args:
      path: need not exist yet.

    Raises:
      ValueError: a line that is no record of a schema that is known; the message has its number.
    """

    def __init__(self, path: Path):
        self.path = path
        self.records: list[Record] = []
        if path.is_file():
            lines = path.read_text().splitlines()
            self.records = [_read(line, path, number) for number, line in enumerate(lines, 1) if line.strip()]

    def append(self, records: Iterable[Record]) -> None:
        """All of one heat in one write, so that an interruption leaves no half of it."""
        new = list(records)
        text = "".join(json.dumps(dataclasses.asdict(record)) + "\n" for record in new)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(file, text.encode())
        finally:
            os.close(file)
        self.records += new


def _read(line: str, path: Path, number: int) -> Record:
    try:
        found = json.loads(line)
        if found.get("schema") != SCHEMA:
            raise ValueError(f"schema {found.get('schema')!r}, and this version reads {SCHEMA}")
        return Record(**found)
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}, line {number}: not a record of the lab: {error}") from error
