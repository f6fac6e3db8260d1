"""Heats: who is measured with whom, and what is remembered of it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pytest
from made_up_lab import MadeUpRuntime, subject
from made_up_records import record

from export import provenance
from export.lab import heat, taking
from export.lab.bar import Bar
from export.lab.contender import Contender
from export.lab.heat import Heat, Lab, split
from export.lab.indecision import Count, in_words, indecision
from export.lab.setting import Setting
from export.lab.store import Store
from export.lab.verdict import CANNOT_TELL, FASTER, SLOWER

SETTING = Setting()
TIMES = {"a": 2.0, "b": 1.0, "c": 4.0, "d": 3.0}


def lab(folder: Path, **arguments: bool) -> Lab:
    return Lab("test", Store(folder / "test.jsonl"), 0.02, **arguments)


def contenders(names: str, params: int = 1_000_000) -> list[Contender]:
    return [Contender(name, subject(name, params=params), SETTING) for name in names]


def bar() -> Bar:
    return Bar(0, io.StringIO())


def test_a_heat_is_measured_once(tmp_path: Path) -> None:
    runtime = MadeUpRuntime(TIMES)
    first = lab(tmp_path).measure(contenders("abc"), runtime, bar())
    assert list(first) == ["a", "b", "c"]
    assert [first.against(name, "a").word for name in "bc"] == [FASTER, SLOWER]
    again = lab(tmp_path).measure(contenders("abc"), runtime, bar())
    assert runtime.prepared == ["a fp32", "b fp32", "c fp32"]
    assert [again[name] for name in again] == [first[name] for name in first]
    fewer = lab(tmp_path).measure(contenders("ab"), runtime, bar())  # part of what is known
    assert list(fewer) == ["a", "b"] and len(runtime.prepared) == 3


@pytest.mark.parametrize("change", ["params", "batch", "runtime", "versions", "machine", "study"])
def test_what_is_different_is_measured_anew(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab(tmp_path).measure(contenders("a"), MadeUpRuntime(TIMES), bar())
    runtime, wanted, second = MadeUpRuntime(TIMES), contenders("a"), lab(tmp_path)
    if change == "params":
        wanted = contenders("a", params=3)
    elif change == "batch":
        wanted = [Contender("a", subject("a"), Setting(batch=2))]
    elif change == "runtime":
        runtime.name = "xla"
    elif change == "versions":
        monkeypatch.setattr(runtime, "versions", lambda: {"made_up": "2"})
    elif change == "machine":
        monkeypatch.setattr(provenance, "machine", lambda: {"processor": "another", "cpus": 2})
    else:
        second.study = "another"
    second.measure(wanted, runtime, bar())
    assert runtime.prepared == ["a fp32"]


def test_anywhere_takes_what_another_machine_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = MadeUpRuntime(TIMES)
    lab(tmp_path).measure(contenders("ab"), runtime, bar())
    monkeypatch.setattr(provenance, "machine", lambda: {"processor": "another", "cpus": 2})
    found = lab(tmp_path, anywhere=True).measure(contenders("ab"), runtime, bar())
    assert list(found) == ["a", "b"] and len(runtime.prepared) == 2


def test_what_does_not_build_is_missing_and_the_others_are_measured(tmp_path: Path) -> None:
    runtime = MadeUpRuntime({"a": 2.0, "b": 1.0}, refused={"b": "no twin"})
    for _ in range(2):  # the second time from the store
        found = lab(tmp_path).measure(contenders("abx"), runtime, bar())
        assert list(found) == ["a"]
        assert found.missing == {"b": "no twin", "x": "x does not build"}
        assert "x" not in found
    assert runtime.prepared == ["a fp32", "x fp32"]
    assert Store(tmp_path / "test.jsonl").records[0].missing == found.missing


def test_what_fails_while_it_is_measured_is_missing_too(tmp_path: Path) -> None:
    runtime = MadeUpRuntime(TIMES, fails_at={"b": 3, "c": 15})
    found = lab(tmp_path).measure(contenders("abcd"), runtime, bar())
    assert list(found) == ["a", "d"]
    assert found.missing == {"b": "b fp32 stopped", "c": "c fp32 stopped"}
    assert found.against("d", "a").word == SLOWER
    runtime.fails_at = dict.fromkeys("abcd", 3)
    nothing = Lab("another", Store(tmp_path / "another.jsonl"), 0.02).measure(
        contenders("ab"), runtime, bar()
    )
    assert not nothing.records and set(nothing.missing) == {"a", "b"}


def test_where_nothing_builds_nothing_is_remembered(tmp_path: Path) -> None:
    runtime = MadeUpRuntime({})
    for _ in range(2):
        assert not lab(tmp_path).measure(contenders("xy"), runtime, bar()).records
    assert runtime.prepared == ["x fp32", "y fp32"] * 2
    assert not (tmp_path / "test.jsonl").exists()


def test_everything_is_closed_whatever_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = MadeUpRuntime(TIMES)
    made = []
    prepare = runtime.prepare
    monkeypatch.setattr(runtime, "prepare", lambda *given: made.append(prepare(*given)) or made[-1])

    def stopped(*given: object, **named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(taking, "measure", stopped)
    with pytest.raises(KeyboardInterrupt):
        lab(tmp_path).measure(contenders("ab"), runtime, bar())
    assert [one.closed for one in made] == [True, True]


def parts(names: str, params: int, reference: str) -> list[str]:
    return ["".join(one.name for one in part) for part in split(contenders(names, params), reference)]


def test_many_contenders_are_split_and_share_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heat, "MOST", 3)
    assert parts("abcdefg", 1, "a") == ["abc", "ade", "afg"]
    assert parts("abcdefg", 1, "d") == ["dab", "dce", "dfg"]
    assert parts("abc", 1, "a") == ["abc"]
    assert parts("a", 1, "a") == ["a"]


def test_large_contenders_are_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heat, "MOST_PARAMETERS", 25)
    assert parts("abcd", 10, "a") == ["ab", "ac", "ad"]
    assert parts("abc", 100, "a") == ["ab", "ac"]  # two must be together, whatever they take


def test_those_of_two_heats_are_compared_by_the_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heat, "MOST", 2)
    runtime = MadeUpRuntime(TIMES)
    found = lab(tmp_path).measure(contenders("abcd"), runtime, bar(), reference="b")
    assert list(found) == ["a", "b", "c", "d"]
    assert len({found[name].heat for name in "acd"}) == 3
    assert found["d"].reference == "b"
    for one, other in ("ab", "cb", "cd", "dc", "bd"):
        assert found.against(one, other).ratio == pytest.approx(TIMES[one] / TIMES[other], rel=0.02)
    with pytest.raises(ValueError, match="one heat"):
        found["c"].against(found["d"])
    with pytest.raises(KeyError):
        found.against("a", "z")
    again = lab(tmp_path).measure(contenders("abcd"), runtime, bar(), reference="b")
    assert list(again) == list(found) and len(runtime.prepared) == 6
    assert indecision(again.every) == {"onnxruntime": Count(3, 0, 0)}


def test_a_reference_that_fails_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heat, "MOST", 3)
    found = lab(tmp_path).measure(contenders("xabcd"), MadeUpRuntime(TIMES), bar(), reference="x")
    assert list(found) == ["a", "b", "c", "d"] and set(found.missing) == {"x"}
    assert [found[name].reference for name in "abcd"] == ["a", "a", "c", "c"]
    assert found.against("b", "a").word == FASTER
    with pytest.raises(KeyError, match="one reference"):
        found.against("d", "a")


def test_a_reference_that_is_not_there_is_the_first(tmp_path: Path) -> None:
    found = lab(tmp_path).measure(contenders("ab"), MadeUpRuntime(TIMES), bar(), reference="a fp16")
    assert found["b"].reference == "a"


def test_the_share_that_cannot_be_told() -> None:
    records = [
        record("a", 10.0, reference="a"),
        record("b", 5.0, reference="a"),
        record("c", 10.0, reference="a", seed=1),
        record("a", 10.0, heat="h2", runtime="xla", reference="a"),
        record("b", 5.0, heat="h2", runtime="xla", reference="a"),
        record("alone", 5.0, heat="h3", runtime="torch"),
    ]
    assert Heat(records[:3]).against("c", "a").word == CANNOT_TELL
    assert indecision(records) == {"onnxruntime": Count(2, 1, 1), "xla": Count(1, 0, 0)}
    assert in_words(records) == (
        'Verdicts on onnxruntime that are "cannot tell": 1 of 2, 1 of them for networks known to be equal '
        'within 3 %. Verdicts on xla that are "cannot tell": 0 of 1.'
    )
    unsure = record("d", 10.0, reference="a", spread=0.5)
    found = indecision([*records[:2], unsure])["onnxruntime"]
    assert found == Count(2, 1, 0) and found.share == 0.5
    assert in_words(records[-1:]) == ""
    opened = record("a", 10.0, samples=[10.0] * 20 + [10.2] * 20, openings=[0, 20])
    assert in_words([opened]) == (
        "The openings of a contender differ by 1.4 % (standard deviation, median of all)."
    )


def odd(**changes: object) -> Sequence[str]:
    return record("a", 10.0, spread=0.0, **changes).warnings()


def test_odd_times_are_told() -> None:
    assert odd() == []
    assert odd(stable=False) == ["not settled after 10 calls"]
    assert odd(samples=[10.0] * 20 + [11.0] * 20) == ["drifted by +10 % while it was measured"]
