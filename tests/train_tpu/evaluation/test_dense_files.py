"""What evaluation of a segmenter or detector leaves behind, and where it can leave nothing."""

import csv
import json
from pathlib import Path

import pytest

from train_tpu.errors import UserError
from train_tpu.evaluation import dense_files
from train_tpu.evaluation.detection_scores import ClassPrecision

CLASSES = [ClassPrecision("cat", 3, 0.5, 0.25), ClassPrecision("dog", 0, None, None)]


class Pictures:
    def draw(self, path: Path, title: str) -> None:
        path.write_text(title)


def write(folder: Path, named: bool = True) -> str:
    return dense_files.write(folder, {"step": 4}, CLASSES, Pictures(), "a title", named)


def test_scores_classes_and_pictures(tmp_path: Path) -> None:
    assert str(tmp_path / "new") in write(tmp_path / "new")
    assert json.loads((tmp_path / "new/results.json").read_text()) == {"step": 4}
    with (tmp_path / "new/per_class.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {"name": "cat", "objects": "3", "box_ap": "0.5", "mask_ap": "0.25"}
    assert rows[1] == {"name": "dog", "objects": "0", "box_ap": "", "mask_ap": ""}
    assert (tmp_path / "new/predictions.png").read_text() == "a title"


def test_only_a_folder_that_was_named_must_take_files(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = write(tmp_path / "file/inside", named=False)
    assert "are not written" in said and said.endswith("name a folder with --out")
    with pytest.raises(UserError, match=r"--out .*/file/inside: cannot be written to"):
        write(tmp_path / "file/inside")
