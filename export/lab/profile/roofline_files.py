"""roofline.json, .csv, .png and .svg."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from export import provenance
from export.lab import written
from export.lab.profile import roofline_picture
from export.lab.profile.peaks import Peaks
from export.lab.profile.roofline import Point, rows
from export.lab.runtimes import Runtime
from export.lab.setting import Setting

_NAME = "roofline"
HOW = (
    "Peaks are measured through the runtime, before and after the networks: the fastest of square matrix "
    "products; of float32 arrays larger than caches the faster of adding two into a third and finding the "
    "largest of each row. Operations are 2 for each multiply-add of convolutions and products. Bytes are "
    "those of all inputs, weights and outputs of the ONNX file's nodes but for views, as if nothing were "
    "fused or cached."
)


def write(
    peaks: Peaks, found: Sequence[Point], runtime: Runtime, setting: Setting, folder: Path
) -> list[Path]:
    """Each file whole or as it was before."""
    table = rows(found, peaks)
    title = f"Roofline: {runtime.name} ({runtime.device.upper()}), {setting.precision}, batch {setting.batch}"
    made = {
        f"{_NAME}.json": (json.dumps(_as_dict(peaks, table, runtime, setting), indent=1) + "\n").encode(),
        f"{_NAME}.csv": _as_csv(table).encode(),
        **written.pictures(_NAME, lambda figure: roofline_picture.draw(figure, peaks, found, title)),
    }
    return written.write(folder, made)


def _as_dict(peaks: Peaks, table: list[dict[str, Any]], runtime: Runtime, setting: Setting) -> dict[str, Any]:
    return {
        "runtime": runtime.name,
        "device": runtime.device,
        "setting": setting.as_dict(),
        "peak_gflop_per_second": peaks.flops / 1e9,
        "peak_gbyte_per_second": peaks.bandwidth / 1e9,
        "ridge_flop_per_byte": peaks.ridge,
        "gflop_per_second_by_side": {str(side): flops / 1e9 for side, flops in peaks.by_side.items()},
        "gbyte_per_second_by_stream": {word: rate / 1e9 for word, rate in peaks.by_stream.items()},
        "numbers_of_each_array": peaks.numbers,
        "how": HOW,
        "points": table,
        "machine": provenance.machine(),
        "gpu": provenance.gpu() if runtime.device == "gpu" else None,
        "versions": {**provenance.versions(), **runtime.versions()},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _as_csv(table: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(table[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()}
        for row in table
    )
    return text.getvalue()
