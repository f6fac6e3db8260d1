"""What `export.run` found in photographs, as JSON: one after the other, however many there are."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from export.arguments import UsageError


@contextmanager
def writing(path: Path | None, head: dict[str, Any]) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Gives what writes one photograph: a line of the list "images" of the object `head`.

    "complete", which comes last, is false where the run ended with an error: what was found until then stays.

    Args:
      path: of the file, which must not be there; None: nothing is written.
      head: what the file is.

    Raises:
      UsageError: the file is there, or cannot be written.
    """
    if path is None:
        yield lambda told: None
        return
    try:
        target = path.open("x", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--json {path}: {error.strerror or error}") from error
    between = "\n"

    def say(text: str) -> None:
        try:
            target.write(text)
            target.flush()  # a disk that is full is told here, not when the file is closed
        except OSError as error:
            raise UsageError(f"--json {path}: {error.strerror or error}") from error

    def write(told: dict[str, Any]) -> None:
        nonlocal between
        say(between + json.dumps(told))
        between = ",\n"

    with target:
        say(f'{json.dumps(head)[:-1]}, "images": [')
        complete = "false"
        try:
            yield write
            complete = "true"
        finally:
            say(f'\n], "complete": {complete}}}\n')
