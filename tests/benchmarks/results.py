"""The measured rows under docs/results, and by what they are sorted."""

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "results"
#: Batches at which kernels are counted: what a builder fuses depends on it.
BATCHES = (1, 8)
PRECISIONS = ("fp32", "fp16")


def batch_key(batch: int) -> str:
    return f"batch_{batch}"


def read(name: str) -> dict[str, dict]:
    file = RESULTS / name
    if not file.is_file():
        return {}
    if file.suffix == ".jsonl":
        return {row["model"]: row for row in map(json.loads, file.read_text().splitlines())}
    return {row["model"]: row for row in json.loads(file.read_text())["rows"]}


def read_by_batch(name: str) -> dict[tuple[str, int], dict]:
    """Rows of a file with one line for each model and batch."""
    file = RESULTS / name
    lines = file.read_text().splitlines() if file.is_file() else []
    return {(row["model"], row["batch"]): row for row in map(json.loads, lines)}
