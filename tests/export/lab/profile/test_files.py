"""The files of a profile."""

import csv
import io
import json
from pathlib import Path

import pytest
from made_up_profiles import profile

from export.lab.profile import files
from export.lab.profile.op import Op


def test_all_files_are_written_and_the_same_each_time(tmp_path: Path) -> None:
    first = files.write(profile(), tmp_path / "a")
    assert [path.name for path in first] == [f"profile{ending}" for ending in files.ENDINGS]
    second = files.write(profile(), tmp_path / "b")
    for one, other in zip(first, second, strict=True):
        if one.suffix != ".json":  # which has a date
            assert one.read_bytes() == other.read_bytes()
    assert not list(tmp_path.rglob("*.partial"))
    assert first[2].read_bytes().startswith(b"\x89PNG") and b"<svg" in first[3].read_bytes()


def test_json_has_sums_that_agree(tmp_path: Path) -> None:
    held = json.loads(files.write(profile(), tmp_path)[0].read_text())
    total = held["operations_ms"]
    assert total == pytest.approx(10.5)
    assert sum(op["ms"] for op in held["operations"]) == pytest.approx(total)
    assert sum(module["own_ms"] for module in held["modules"]) == pytest.approx(total)
    assert sum(kind["ms"] for kind in held["kinds"].values()) == pytest.approx(total)
    assert sum(kind["share"] for kind in held["kinds"].values()) == pytest.approx(1)
    assert held["modules"][0]["path"] == "" and held["modules"][0]["ms"] == pytest.approx(total)
    assert held["unattributed"] == ["lost"] and held["unattributed_ms"] == 0.5
    assert held["accounted"] == pytest.approx(10.5 / 13) and held["profiler_overhead"] == pytest.approx(
        1 / 12
    )
    assert held["machine"] and held["versions"]["python"] and held["unknown_types"] == []


def test_types_of_no_kind_are_listed() -> None:
    odd = profile(ops=(*profile().ops, Op("x", "Sorcery", "other", 1.0, "stem")))
    assert files.as_dict(odd)["unknown_types"] == ["Sorcery"]


def test_csv_has_a_row_for_each_operation() -> None:
    rows = list(csv.DictReader(io.StringIO(files.as_csv(profile()))))
    assert [row["operation"] for row in rows] == [op.name for op in profile().ops]
    assert rows[-1]["module"] == "(unattributed)" and rows[2]["count"] == "2"
    assert sum(float(row["share"]) for row in rows) == pytest.approx(1, abs=1e-5)


def test_files_of_an_earlier_run_are_found(tmp_path: Path) -> None:
    assert files.there(tmp_path, "profile", files.ENDINGS) is None
    (tmp_path / "profile.svg").touch()
    assert files.there(tmp_path, "profile", files.ENDINGS) == tmp_path / "profile.svg"
