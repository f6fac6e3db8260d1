"""The checksums of a checkpoint's files: a flipped bit or a lost block is found before it is trained on.

Orbax's store has checksums for its index alone, not for the numbers. So the last thing written into a
checkpoint, before the rename that makes it one, is `manifest.json`: size and SHA-256 of every file. Hashing
costs about 0.5 s per GB on one core and runs in the background thread that writes.
"""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

NAME = "manifest.json"
# Written again by orbax after the manifest; they hold the time and the path, no numbers.
LEFT_OUT = (NAME, "_CHECKPOINT_METADATA", "commit_success.txt")
THREADS = 4  # hashlib works outside of Python's lock


def write(folder: Path) -> None:
    """Note the files that lie below `folder` now."""
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in LEFT_OUT)
    with ThreadPoolExecutor(THREADS) as pool:
        sums = list(pool.map(_checksum, paths))
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": checksum}
        for path, checksum in zip(paths, sums, strict=True)
    }
    (folder / NAME).write_text(json.dumps({"files": files}, indent=1) + "\n")


def damage(folder: Path, item: str = "") -> str | None:
    """What is wrong with the files of a checkpoint, in words; None if they are as they were written.

    A checkpoint without a manifest (of hvjax 0.1) cannot be judged and passes.

    Args:
      item: look below this folder of the checkpoint only, "model" for example.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        files = json.loads(path.read_text(encoding="utf-8"))["files"]
        wanted = {
            name: (row["bytes"], row["sha256"])
            for name, row in files.items()
            if not item or name.startswith(f"{item}/")
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"{NAME} cannot be read"
    for name, (size, _) in wanted.items():
        file = folder / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != size:
            return f"{name} has {file.stat().st_size:,} bytes, {size:,} were written"
    with ThreadPoolExecutor(THREADS) as pool:
        found = pool.map(_checksum, (folder / name for name in wanted))
        for (name, (_, checksum)), now in zip(wanted.items(), found, strict=True):
            if now != checksum:
                return f"{name} is not what was written (another SHA-256)"
    return None


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
