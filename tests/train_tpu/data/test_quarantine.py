"""Images that cannot be read: counted, listed, and too many of them."""

import json
from pathlib import Path

import pytest

from train_tpu.data.quarantine import CorruptImages
from train_tpu.errors import RunFailed


def test_the_same_image_is_counted_once() -> None:
    corrupt = CorruptImages(total=10, max_share=0.1)
    for _ in range(3):
        corrupt.report("a.jpg", "truncated")
    assert len(corrupt) == 1 and corrupt.listing() == "1 unreadable image skipped:\n  a.jpg: truncated"
    with pytest.raises(RunFailed, match=r"2 of 10 images cannot be read.*b.jpg \(empty\)"):
        corrupt.report("b.jpg", "empty")


def test_nothing_corrupt_says_nothing() -> None:
    assert CorruptImages(10, 0.0).listing() == ""


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_list_in_the_workdir_names_each_once_and_survives_a_resume(tmp_path: Path) -> None:
    first = CorruptImages(10, 1.0)
    first.report("a.jpg", "truncated")  # before the workdir is known
    first.keep_in(tmp_path)
    for _ in range(2):
        first.report("b.jpg", "empty")
    resumed = CorruptImages(10, 1.0)
    resumed.keep_in(tmp_path)
    for name in ("b.jpg", "c.jpg"):
        resumed.report(name, "empty")
    rows = lines(tmp_path / "quarantine.jsonl")
    assert [row["name"] for row in rows] == ["a.jpg", "b.jpg", "c.jpg"]
    assert rows[0]["reason"] == "truncated" and rows[0]["when"].startswith("20")


def test_hosts_write_lists_of_their_own(tmp_path: Path) -> None:
    for host in (0, 2):
        corrupt = CorruptImages(10, 1.0)
        corrupt.keep_in(tmp_path, host)
        corrupt.report(f"{host}.jpg", "empty")
    assert lines(tmp_path / "quarantine-2.jsonl")[0]["name"] == "2.jpg"
    assert len(lines(tmp_path / "quarantine.jsonl")) == 1


def test_a_line_that_a_crash_cut_off_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "quarantine.jsonl").write_text('{"name": "a.jpg", "rea\n')
    corrupt = CorruptImages(10, 1.0)
    corrupt.keep_in(tmp_path)
    corrupt.report("b.jpg", "empty")
    assert "b.jpg" in (tmp_path / "quarantine.jsonl").read_text().splitlines()[-1]
