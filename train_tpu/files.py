"""Files that are there whole or not at all, whatever ends the process or the machine meanwhile."""

import os
from pathlib import Path

DRAFT = ".tmp"  # the ending of the hidden file that is written first


def draft_of(path: Path) -> Path:
    """Where the content of `path` is written before it gets its name."""
    return path.with_name(f".{path.name}{DRAFT}")


def is_draft(name: str) -> bool:
    """Whether a file of this name was left behind by a process that was killed while writing."""
    return name.startswith(".") and name.endswith(DRAFT)


def write_whole(path: Path, text: str, durable: bool = True) -> None:
    """The whole text under this name, or what was there before.

    Args:
      durable: return when it is on the disk, which takes some milliseconds: it survives a power cut.
    """
    draft = draft_of(path)
    try:
        with draft.open("w") as file:
            file.write(text)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    if durable:
        to_disk(path.parent)


def to_disk(path: Path) -> None:
    """Return when a file, or the list of names in a folder, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
