"""What an export shows while it runs, on a terminal and elsewhere."""

from __future__ import annotations

import io

import pytest

from export.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_takes_the_line_of_its_stage_and_gives_it_back() -> None:
    stream = Terminal()
    progress = Progress(2, lambda: None, stream)
    with progress.stage("gate", "gate on 8 images"):
        progress.bar(0, 80, "all in half precision")
        progress.bar(40, 80, "only stage3 in half precision")
    lines = stream.getvalue().split("\r")
    assert lines[0].startswith("[1/2] gate on 8 images ..")
    assert lines[1].startswith("      [....................] 0 of at most 80: all in half precision")
    assert lines[2].startswith("      [##########..........] 40 of at most 80: only stage3")
    assert lines[3].startswith("[1/2] gate on 8 images ..") and lines[3].endswith(" s\n")
    assert max(map(len, lines[:3])) <= 100


def test_a_bar_is_silent_elsewhere_and_lets_the_user_end_it() -> None:
    class Stop(Exception):
        pass

    def check() -> None:
        if stops:
            raise Stop

    stops: list[bool] = []
    stream = io.StringIO()
    progress = Progress(1, check, stream)
    with pytest.raises(Stop), progress.stage("gate", "gate"):
        progress.bar(1, 2, "run")
        stops.append(True)
        progress.bar(2, 2, "run")
    assert stream.getvalue() == ""
