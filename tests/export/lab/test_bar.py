"""The progress bar, on a clock of ours."""

from __future__ import annotations

import io

import pytest
from made_up_lab import Clock

from export.lab.bar import Bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_gets_lines() -> None:
    stream, clock = io.StringIO(), Clock()
    bar = Bar(10, stream, clock)
    bar.say("preparing a")
    clock.now = 30.0
    bar.step(4, old=True)
    bar.step()
    bar.advance(0.5)
    bar.say("preparing b")
    bar.expect(5)
    clock.now = 60.0
    bar.say("preparing c")
    bar.close()
    assert stream.getvalue().splitlines() == [
        "[0/10] preparing a",
        "[5/10, 3.0 a minute, 1:30 left] preparing b",  # 1.5 in 30 s; what was old took no time
        "[5/15, 1.5 a minute, 6:20 left] preparing c",
    ]


def test_a_terminal_gets_one_line_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    stream, clock = Terminal(), Clock()
    bar = Bar(4, stream, clock)
    bar.say("preparing a network with a very long name that has no end at all")
    clock.now = 3700.0
    bar.step()
    bar.say("b")
    bar.close()
    text = stream.getvalue()
    assert text.count("\n") == 1
    painted = text.rstrip("\n").split("\r")[1:]
    assert max(map(len, painted)) <= 59
    assert painted[0].startswith("[....................] 0/4 | preparing a")
    assert painted[-1].strip() == "[#####...............] 1/4, 0.0 a minute, 3:05:00 left | b"
    assert len(painted[-1]) >= len(painted[-2].rstrip())  # covers what was there


def test_the_line_is_not_painted_more_often_than_can_be_read() -> None:
    stream, clock = Terminal(), Clock()
    bar = Bar(1, stream, clock)
    for place in range(100):
        clock.now = place / 100
        bar.advance(place / 100)
    assert stream.getvalue().count("\r") == 2


def test_a_wish_to_end_is_heard() -> None:
    def ends() -> None:
        raise KeyboardInterrupt

    bar = Bar(1, io.StringIO(), check=ends)
    for ask in (lambda: bar.say("a"), lambda: bar.advance(0.1), bar.step):
        with pytest.raises(KeyboardInterrupt):
            ask()
