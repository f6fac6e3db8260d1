"""Writing results so that a folder never holds half of one: staged beside it, then renamed into place."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

#: Everything an export may write.
PRODUCTS = ("model.onnx", "model.engine", "report.json", "report.html", "report.png")
#: Where the results of an export that failed its gate or build are left for inspection.
REJECTED = "rejected"


class OutputFolder:
    """The folder an export writes to. Use with `with`: what was not published is gone at its end.

    Raises:
      ValueError: on creation, if the folder holds products already and `overwrite` is not set, or the
        path is not a folder that can be written.
    """

    def __init__(self, folder: Path, *, overwrite: bool) -> None:
        self.folder = folder
        there = [name for name in PRODUCTS if (folder / name).exists()]
        if there and not overwrite:
            raise ValueError(
                f"{folder} already holds {', '.join(there)}: "
                "add --overwrite to replace, or choose another --out"
            )
        self._made = [p for p in (folder, *folder.parents) if not p.exists()]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._staging = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder))
        except OSError as error:
            raise ValueError(f"--out {folder}: {error.strerror or error}") from error

    def __enter__(self) -> OutputFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self._staging, ignore_errors=True)
        for folder in self._made:  # created for nothing: leave the disk as it was
            try:
                folder.rmdir()
            except OSError:
                break

    def write(self, name: str, content: bytes | str) -> Path:
        """Stages one product; returns the path it will have if published as accepted."""
        data = content.encode() if isinstance(content, str) else content
        (self._staging / name).write_bytes(data)
        return self.folder / name

    def publish(self, *, accepted: bool) -> list[Path]:
        """Moves what was staged into the folder, or, if not accepted, into its subfolder "rejected".

        Products of an earlier export that this one did not write are removed from the place it moves to:
        an old engine beside a new model would be taken for its build.
        """
        target = self.folder if accepted else self.folder / REJECTED
        target.mkdir(exist_ok=True)
        staged = sorted(path.name for path in self._staging.iterdir())
        for name in staged:
            os.replace(self._staging / name, target / name)
        _remove(target / name for name in PRODUCTS if name not in staged)
        if accepted:
            shutil.rmtree(self.folder / REJECTED, ignore_errors=True)
        return [target / name for name in staged]


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
