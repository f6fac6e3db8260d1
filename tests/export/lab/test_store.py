"""The results store: it only grows, and says what is wrong with it."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import re
from pathlib import Path

import pytest
from made_up_records import record

from export.lab.record import SCHEMA, Record
from export.lab.store import Store


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "one.jsonl"
    records = [
        record("a", 3.0, openings=[0, 20, 40], reference="a"),
        record("b", 4.0, missing={"c": "too large"}),
    ]
    Store(path).append(records[:1])
    Store(path).append(records[1:])
    assert [dataclasses.asdict(one) for one in Store(path).records] == [
        json.loads(json.dumps(dataclasses.asdict(one))) for one in records
    ]
    assert Store(path).records[0].summary() == records[0].summary()
    assert [one.opening for one in records[0].taken()] == [0] * 20 + [1] * 20 + [2] * 20


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("[1, 2]", "not a record"),
        ('{"schema": 99}', "schema 99"),
        ('{"schema": 1, "colour": "red"}', "colour"),
        ("no JSON", "not a record"),
        ("\x00\x00\x00", "not a record"),
    ],
)
def test_a_damaged_line_is_named(line: str, why: str, tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    Store(path).append([record("a", 3.0)])
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(ValueError, match=rf"one.jsonl, line 2: .*{why}"):
        Store(path)


@pytest.mark.parametrize("kept", [1, 5, 11, 40, 400, -2, -1])
def test_a_last_line_that_ends_in_the_middle_is_told_and_survived(kept: int, tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    Store(path).append([record("a", 3.0)])
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:kept])
    store = Store(path)
    if kept == -1:  # only the end of the line is gone: nothing is lost
        assert store.cut is None and len(store.records) == 2
    else:
        assert store.cut is not None and "line 2" in store.cut
        assert [one.name for one in store.records] == ["a"]
    store.append([record("b", 4.0)])
    again = Store(path)
    assert [one.name for one in again.records][-1] == "b"
    assert path.read_bytes().startswith(whole + whole[:kept])  # nothing was taken away


def _append(path: Path, name: str, times: int) -> None:
    store = Store(path)
    for _ in range(times):
        store.append([record(name, 3.0, calls=400) for _ in range(4)])


def test_two_processes_do_not_mix_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_append, args=(path, name, 25)) for name in ("a", "b")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    names = "".join(one.name for one in Store(path).records)
    assert len(names) == 200
    assert set(re.findall("....", names)) == {"aaaa", "bbbb"}  # heats are whole


def test_the_schema_is_documented(repository: Path) -> None:
    page = (repository / "docs" / "results" / "README.md").read_text()
    described = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", page, re.MULTILINE))
    for field in dataclasses.fields(Record):
        assert field.name in described, field.name
    assert f"schema {SCHEMA}" in page


def test_every_condition_is_documented(repository: Path) -> None:
    from export.lab import conditions

    page = (repository / "docs" / "results" / "README.md").read_text()
    for key in conditions.now():
        assert f"`{key}`" in page, key


def test_every_kind_of_memory_is_documented(repository: Path) -> None:
    from export.lab.runtimes import memory

    page = (repository / "docs" / "results" / "README.md").read_text()
    names = re.findall(r"^(\w+) {2,}\S", memory.__doc__ or "", re.MULTILINE)
    assert "file" in names
    for name in names:
        assert name == "key" or f"`{name}`" in page, name
