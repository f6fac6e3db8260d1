"""`export.run` on segmenters and detectors: the files that it writes, and how they are named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from run_photographs import run_on

from export import run_dense


def test_nothing_is_overwritten(exported_segmenter: Path, pictures: list[Path], tmp_path: Path) -> None:
    """What is there keeps its name; both files of a photograph have one number."""
    (tmp_path / "b_classes.png").write_text("mine")
    for _ in range(2):
        assert run_on(exported_segmenter, pictures[2:], tmp_path) == 0
    made = {path.name for path in tmp_path.glob("b_*")}
    assert made == {"b_classes.png"} | {
        f"b_{number}_{end}.png" for number in (2, 3) for end in ("predicted", "classes")
    }
    assert (tmp_path / "b_classes.png").read_text() == "mine"


def test_a_name_that_is_too_long_for_its_files(
    exported_segmenter: Path, pictures: list[Path], tmp_path: Path, capsys: Any
) -> None:
    long = pictures[0].rename(tmp_path / f"{'x' * 245}.png")
    assert run_on(exported_segmenter, [pictures[2], long], tmp_path / "out") == 2
    shown = capsys.readouterr()
    assert "File name too long" in shown.err and shown.err.count("\n") == 1 and not shown.out
    assert not list((tmp_path / "out").iterdir())


def test_the_name_of_the_json_is_not_given_to_a_picture(
    exported_segmenter: Path, pictures: list[Path], tmp_path: Path
) -> None:
    path = tmp_path / "out" / "b_predicted.png"
    assert run_on(exported_segmenter, pictures[2:], path.parent, "--json", str(path)) == 0
    made = {"b_predicted.png", "b_2_predicted.png", "b_2_classes.png"}
    assert {file.name for file in path.parent.iterdir()} == made
    assert json.loads(path.read_text())["images"][0]["class_map"].endswith("b_2_classes.png")


def test_names_that_links_or_capitals_take(
    exported_segmenter: Path, pictures: list[Path], tmp_path: Path
) -> None:
    ends, taken = ("predicted", "classes"), tmp_path / "taken"
    taken.mkdir()
    (taken / "b_predicted.png").symlink_to(tmp_path / "nowhere.png")
    assert run_on(exported_segmenter, pictures[2:], taken) == 0
    made = {path.name for path in taken.iterdir()}
    assert made == {"b_predicted.png", *(f"b_2_{end}.png" for end in ends)}
    assert not (tmp_path / "nowhere.png").exists()
    (tmp_path / "capitals").mkdir()
    capital = Path(shutil.copy(pictures[2], tmp_path / "capitals" / "B.png"))
    assert run_on(exported_segmenter, [pictures[2], capital], tmp_path / "out") == 0
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert made == {f"{stem}_{end}.png" for stem in ("b", "B_2") for end in ends}


def test_the_json_in_a_folder_that_the_command_makes(
    exported_segmenter: Path, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the folder is written."""
    monkeypatch.chdir(tmp_path)
    assert run_on(exported_segmenter, pictures[2:], tmp_path / "seen", "--json", "seen/found.json") == 0
    assert json.loads((tmp_path / "seen" / "found.json").read_text())["complete"] is True


def test_what_was_found_before_an_error_is_kept(
    exported_detector: Path,
    pictures: list[Path],
    tmp_path: Path,
    capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = run_dense._detected

    def full(*given: Any) -> Any:
        if given[-1] == "b":
            raise OSError(28, "No space left on device")
        return real(*given)

    monkeypatch.setattr(run_dense, "_detected", full)
    path = tmp_path / "found.json"
    assert run_on(exported_detector, pictures, tmp_path / "out", "--json", str(path)) == 2
    assert "No space left on device" in capsys.readouterr().err
    said = json.loads(path.read_text())
    assert [one["image"] for one in said["images"]] == [str(picture) for picture in pictures[:2]]
    assert said["complete"] is False


def test_a_reader_of_the_output_that_went_away_is_not_the_folders_fault(
    exported_segmenter: Path,
    pictures: list[Path],
    tmp_path: Path,
    capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def gone(*given: Any) -> Any:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(run_dense, "_segmented", gone)
    assert run_on(exported_segmenter, pictures, tmp_path / "out") == 2
    shown = capsys.readouterr().err
    assert "Broken pipe" in shown and "--out" not in shown
