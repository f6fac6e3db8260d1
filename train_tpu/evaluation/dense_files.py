"""What `evaluate` leaves behind of a segmenter or detector: scores, a table of classes and a picture."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from train_tpu.errors import UserError
from train_tpu.evaluation.evaluation_files import CLASSES, PICTURE, RESULTS, earlier

WRITTEN = (RESULTS, CLASSES, PICTURE)


def write(
    folder: Path, content: dict[str, Any], classes: Sequence[Any], pictures: Any, title: str, named: bool
) -> str:
    """Write everything, results.json last; returns the line that says where it is.

    Args:
      classes: dataclass rows, one a class. pictures: has `draw(path, title)`.
      named: the user asked for this folder; where nobody did, that it cannot be written to is no error.
    Raises:
      UserError: the folder that was named cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in earlier(folder):
            path.unlink()
        rows = [_row(row) for row in classes]
        with (folder / CLASSES).open("w", encoding="utf-8", newline="", errors="backslashreplace") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        pictures.draw(folder / PICTURE, title)
        text = json.dumps(content, indent=2, ensure_ascii=False)
        (folder / RESULTS).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        if named:
            raise UserError(f"--out {folder}: cannot be written to ({error.strerror})") from error
        return f"tables and pictures are not written: {folder} ({error.strerror}); name a folder with --out"
    return f"tables and pictures: {folder} ({', '.join(WRITTEN)})"


def _row(row: Any) -> dict[str, Any]:
    """A class as cells: its fields, and what it computes of them (`iou`); "" where there is none."""
    names = [*row.__dataclass_fields__, *(n for n, v in vars(type(row)).items() if isinstance(v, property))]
    cells = {name: getattr(row, name) for name in names}
    return {name: "" if value is None else value for name, value in cells.items()}
