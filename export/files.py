"""Writing results so that a folder never holds half of one: staged beside it, then renamed into place."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType

from export.bundle import FILES, MANIFEST
from export.bundle.read import is_bundle

#: What an export may write beside the bundle.
_BESIDE = ("model.engine", "report.json", "report.html", "report.png")
#: Everything an export may write.
PRODUCTS = (*FILES, MANIFEST, *_BESIDE)
#: What building from a bundle may write.
ENGINE_PRODUCTS = ("model.engine", "config.pbtxt", "trtexec.txt", "report.json", "report.html")
#: Names that others use too: a training run has a gate.npz of its own, a Triton repository a config.pbtxt.
_SHARED_NAMES = ("gate.npz", "labels.json", "preprocess.json", "config.pbtxt", MANIFEST)
#: Where the results of an export that failed its gate or build are left for inspection.
REJECTED = "rejected"


class OutputFolder:
    """The folder an export writes to. Use with `with`: what was not published is gone at its end.

    Args:
      products: names of what may be written; those of an earlier run are replaced or removed.

    Raises:
      ValueError: on creation, if the folder holds products already and `overwrite` is not set, files of
        another program under their names, or the path is not a folder that can be written.
    """

    def __init__(self, folder: Path, *, overwrite: bool, products: Sequence[str] = PRODUCTS) -> None:
        self.folder = folder
        self.products = tuple(products)
        there = [name for name in self.products if (folder / name).exists()]
        foreign = [name for name in there if name in _SHARED_NAMES]
        if foreign and MANIFEST in self.products and not is_bundle(folder):
            raise ValueError(f"{folder} holds a {foreign[0]} that is of no bundle: choose another --out")
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
        _remove(target / name for name in self.products if name not in staged)
        if accepted:
            shutil.rmtree(self.folder / REJECTED, ignore_errors=True)
        return [target / name for name in staged]


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
