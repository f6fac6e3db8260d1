"""Columns of a study's table, by hand."""

from __future__ import annotations

import pytest
from made_up_records import record

from export.lab.markdown import measured_table, table
from export.lab.table import as_csv, row
from export.lab.verdict import verdict


def test_counts_per_second_are_those_of_trt_vit() -> None:
    """TeraFLOPS = 2 x MACs x batch / latency, TeraParams = params / latency."""
    one = record("a", 10.0, spread=0.0, batch=8, memory={"running": 3 << 20})
    found = row(one, "b", verdict(0.5, 0.4, 0.6))
    assert found["typical_ms"] == pytest.approx(10.0)
    assert found["gmacs"] == pytest.approx(4.1)
    assert found["teraflops"] == pytest.approx(2 * 4.1e9 * 8 / 0.010 / 1e12)
    assert found["teraparams"] == pytest.approx(25e6 / 0.010 / 1e12)
    assert found["images_per_second"] == pytest.approx(800)
    assert (found["reference"], found["ratio"], found["verdict"]) == ("b", 0.5, "faster")
    assert found["memory_running"] == 3 << 20


def test_a_block_without_counts_has_empty_cells() -> None:
    one = record("a", 10.0, subject={"image_size": [8, 8]})
    found = row(one, None, None)
    assert found["gmacs"] is found["teraflops"] is found["ratio"] is None
    assert ",," in as_csv([found])


def test_columns_of_several_rows_are_joined() -> None:
    text = as_csv([{"a": 1, "b": 1 / 3}, {"a": 2, "c": "x,y"}])
    assert text == 'a,b,c\n1,0.333333,\n2,,"x,y"\n'


def test_the_table_shows_what_differs() -> None:
    rows = [
        {"plan": "one", **row(record("a", 10.0, precision=precision), None, None), "depth": 3}
        for precision in ("fp32", "fp16")
    ]
    head = measured_table(rows).splitlines()[0]
    assert "| precision |" in head and "| depth |" in head
    assert "| batch |" not in head and "| plan |" not in head
    assert measured_table([]) == "Nothing was measured."


def test_a_cell_may_hold_a_bar() -> None:
    assert table(["a"], [["x|y"]]).splitlines()[-1] == "| x\\|y |"
