"""Metrics to metrics.jsonl and TensorBoard."""

import json
from pathlib import Path
from typing import Any

from train_tpu.files import write_whole
from train_tpu.monitoring.wandb_log import WandbLog

FILE = "metrics.jsonl"
# what clocks say; everything else in a row is computed, and equal runs write equal numbers
CLOCKS = ("images_per_second", "input_wait", "goodput", "mfu")


class MetricsLog:
    """Appends rows to WORKDIR/metrics.jsonl and scalars to WORKDIR/tensorboard and to whom `also` names.

    A row is {"step": 40, "split": "train" | "held_out", "weights": "raw" | "ema", "loss": 0.5, ...}.
    Numbers are written with full precision, so equal runs write equal numbers. After a crash the log may
    be ahead of the checkpoint; rows after `resume_step` are dropped, the resumed run writes them again.
    """

    def __init__(self, workdir: Path, resume_step: int, also: WandbLog | None = None):
        self._workdir, self._path, self._also = workdir, workdir / FILE, also
        self._open(resume_step)

    def _open(self, resume_step: int) -> None:
        from tensorboardX import SummaryWriter

        kept = [row for row in read_metrics(self._workdir) if row["step"] <= resume_step]
        write_whole(self._path, "".join(json.dumps(row) + "\n" for row in kept))
        self._file = self._path.open("a")
        self._board = SummaryWriter(str(self._workdir / "tensorboard"), purge_step=resume_step + 1)

    def write(self, step: int, split: str, weights: str, **values: float) -> None:
        """One row; values are plain floats."""
        row: dict[str, Any] = {"step": step, "split": split, "weights": weights, **values}
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        group = split if split == "train" else f"{split}/{weights}"
        for name, value in values.items():
            self._board.add_scalar(f"{group}/{name}", value, step)
        if self._also:
            self._also.write(step, group, values)

    def note(self, step: int, text: str) -> None:
        """A row of its own for what happened before a step: {"step": 5, "split": "note", "text": ...}."""
        self._file.write(json.dumps({"step": step, "split": "note", "text": text}) + "\n")
        self._file.flush()

    def rewind(self, step: int) -> None:
        """Drop what was written after `step`, which is about to be done again."""
        self._close_files()
        self._open(step)

    def close(self) -> None:
        """Flush and close all."""
        self._close_files()
        if self._also:
            self._also.close()

    def _close_files(self) -> None:
        self._file.close()
        self._board.close()


def read_metrics(workdir: Path) -> list[dict[str, Any]]:
    """All rows of WORKDIR/metrics.jsonl, in order; a last line cut short by a crash is dropped."""
    path = workdir / FILE
    rows = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows
