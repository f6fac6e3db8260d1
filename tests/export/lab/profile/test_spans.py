"""Operations that run at once share the time."""

import pytest

from export.lab.profile.spans import Span, parts


def test_one_after_the_other() -> None:
    assert parts([Span("a", 0, 2), Span("b", 2, 5), Span("a", 7, 8)]) == {"a": 3, "b": 3}


def test_at_once_each_gets_its_part() -> None:
    found = parts([Span("a", 0, 10), Span("b", 4, 8), Span("c", 4, 6)])
    assert found == pytest.approx({"a": 4 + 2 / 3 + 2 / 2 + 2, "b": 2 / 3 + 2 / 2, "c": 2 / 3})
    assert sum(found.values()) == pytest.approx(10)  # the time in which anything ran


def test_equal_and_empty_spans() -> None:
    assert parts([Span("a", 1, 3), Span("b", 1, 3)]) == {"a": 1, "b": 1}
    assert parts([Span("a", 1, 1)]) == {"a": 0}
    assert parts([]) == {}
