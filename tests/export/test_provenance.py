"""Hashes that a shell can repeat, and top-1 agreement counted by hand."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from export import provenance
from export.feed import run_all


def test_a_weights_file_has_its_own_hash(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    file.write_bytes(b"weights")
    assert provenance.checkpoint(str(file)) == {
        "path": str(file), "files": 1, "bytes": 7, "sha256": hashlib.sha256(b"weights").hexdigest(),
    }  # fmt: skip


def test_a_model_name_has_no_checkpoint() -> None:
    assert provenance.checkpoint("next_vit_s") is None


@pytest.mark.skipif(not all(map(shutil.which, ("find", "xargs", "sha256sum"))), reason="needs GNU tools")
def test_the_documented_command_repeats_the_hash_of_a_folder(tmp_path: Path) -> None:
    run = tmp_path / "run"
    for name, text in {"a b/c": "1", "a/z": "2", "B": "3", "a-x": "4", "é": "5"}.items():
        path = run / "checkpoints" / "7" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (run / "metrics.jsonl").write_text("grows while training, no part of the weights")
    found = provenance.checkpoint(str(run), step=7)
    assert found is not None and found["files"] == 5 and found["bytes"] == 5
    command = (provenance.checkpoint.__doc__ or "").split("::")[1].strip()
    command = command.replace("FOLDER", str(found["path"]))
    told = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout
    assert told.split()[0] == found["sha256"]


def test_a_changed_or_renamed_file_changes_the_hash(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    seen = [provenance.checkpoint(str(tmp_path))]
    (tmp_path / "a").write_text("2")
    seen.append(provenance.checkpoint(str(tmp_path)))
    (tmp_path / "a").rename(tmp_path / "b")
    seen.append(provenance.checkpoint(str(tmp_path)))
    assert len({entry["sha256"] for entry in seen if entry}) == 3


def test_the_last_batch_is_filled_and_cut() -> None:
    sizes = []

    class Doubling:
        def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
            sizes.append(len(images))
            return {"y": 2 * images}

    images = np.arange(10.0).reshape(5, 2)
    assert np.array_equal(run_all(Doubling(), images, 3)["y"], 2 * images) and sizes == [3, 3]  # type: ignore[arg-type]
