"""Where the time went, on clocks that the tests turn."""

import json
from pathlib import Path

import pytest

from train_tpu.monitoring import goodput
from train_tpu.monitoring.goodput import Goodput, attribute, said, summed

SAME = 1e-9  # sums of a few floats


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.now = 100.0
        monkeypatch.setattr("train_tpu.monitoring.goodput.time.perf_counter", lambda: self.now)
        monkeypatch.setattr("train_tpu.monitoring.goodput.time.time", lambda: 1e9 + self.now)

    def spend(self, clock: Goodput, name: str, seconds: float) -> None:
        with clock.doing(name):
            self.now += seconds


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def seconds(found: dict) -> dict[str, float]:
    return {name: round(value, 6) for name, value in found["seconds"].items() if value}


def test_idle_time_is_shared_out_and_nothing_is_lost() -> None:
    phases = [("input", 0.0, 4.0), ("evaluation", 5.0, 9.0)]
    assert attribute((3.0, 6.0), phases) == {"input": 1.0, "evaluation": 1.0, "other": 1.0}
    assert attribute((0.0, 4.0), phases) == {"input": 4.0}
    assert attribute((4.0, 4.0), phases) == {}
    assert attribute((10.0, 12.0), phases) == {"other": 2.0}


def test_data_read_while_the_device_computes_costs_nothing(time: Clock) -> None:
    """Steps of 3 s, input of 2 s: the device never waits but for the first batch."""
    clock = Goodput(None, 0, began=99.0)
    time.spend(clock, goodput.INPUT, 2.0)
    for step in range(1, 4):
        asked = time.now
        time.spend(clock, goodput.INPUT, 2.0)  # of the next step
        time.now = asked + 3.0
        clock.step_done(step, asked, time.now)
    assert seconds(clock.record()) == {"start": 1.0, "input": 2.0, "steps": 9.0}


def test_device_that_waits_for_input(time: Clock) -> None:
    """Steps of 1 s, input of 4 s: three of each four seconds are waited."""
    clock = Goodput(None, 0, began=100.0)
    asked = 0.0
    for step in range(1, 4):
        time.spend(clock, goodput.INPUT, 4.0)
        if step > 1:
            clock.step_done(step - 1, asked, ready=asked + 1.0)
        asked = clock.host_free
    assert seconds(clock.record()) == {"input": 4.0 + 3.0, "steps": 2.0}
    assert clock.input_share() == pytest.approx(7.0 / 12.0)
    assert clock.input_share() == 0.0, "since the last call"


def test_every_second_is_put_down_once(time: Clock, tmp_path: Path) -> None:
    clock = Goodput(tmp_path, 0, began=95.0)
    time.spend(clock, goodput.INPUT, 1.0)
    asked = clock.host_free
    time.now += 20.0
    clock.compiled(asked)
    time.spend(clock, goodput.INPUT, 0.5)
    asked = clock.host_free
    time.now += 2.0
    clock.step_done(2, asked, time.now)
    time.spend(clock, goodput.EVALUATION, 3.0)
    time.spend(clock, goodput.CHECKPOINT, 0.25)
    time.now += 0.25
    found = clock.record(until_now=True)
    assert seconds(found) == {
        "start": 5.0,
        "input": 1.5,
        "compile": 20.0,
        "steps": 2.0,
        "evaluation": 3.0,
        "checkpoint": 0.25,
        "other": 0.25,
    }
    assert found["wall_seconds"] == pytest.approx(time.now - 95.0, abs=SAME)
    assert found["goodput"] == pytest.approx(2.0 / 32.0)
    assert clock.record(until_now=True) == found, "a second time adds nothing"
    written = json.loads((tmp_path / "goodput.json").read_text())
    assert written["goodput"] == found["goodput"] and len(written["sessions"]) == 1


def train(time: Clock, clock: Goodput, first: int, last: int) -> None:
    for step in range(first, last + 1):
        asked = time.now
        time.now += 1.0
        clock.step_done(step, asked, time.now)


def test_killed_and_resumed(time: Clock, tmp_path: Path) -> None:
    """Ten steps, the last checkpoint at 6: four seconds of steps were lost; an hour between is told apart."""
    clock = Goodput(tmp_path, 0, began=90.0)
    train(time, clock, 1, 10)
    clock.record()
    time.now += 3600.0
    clock = Goodput(tmp_path, 6, began=time.now - 5.0)
    train(time, clock, 7, 12)
    found = clock.record(until_now=True)
    assert seconds(found) == {"start": 15.0, "steps": 12.0, "lost": 4.0}
    assert found["goodput"] == pytest.approx(12.0 / 31.0)
    assert found["down_seconds"] == pytest.approx(3595.0)
    assert found["wall_seconds"] == pytest.approx(31.0)

    clock = Goodput(tmp_path, 3, began=time.now)  # and both checkpoints after 3 were damaged
    assert seconds(clock.record())["lost"] == pytest.approx(4.0 + 3.0 + 6.0)


def test_rollback_within_a_process(time: Clock) -> None:
    clock = Goodput(None, 0, began=100.0)
    train(time, clock, 1, 8)
    clock.went_back(6)
    train(time, clock, 7, 10)
    assert seconds(clock.record()) == {"steps": 10.0, "lost": 2.0}


def test_block_that_fails_is_put_down_too(time: Clock) -> None:
    clock = Goodput(None, 0, began=100.0)
    with pytest.raises(OSError), clock.doing(goodput.CHECKPOINT):
        time.now += 2.0
        raise OSError
    assert seconds(clock.record(until_now=True)) == {"checkpoint": 2.0}


@pytest.mark.parametrize("content", ["", "[]", "{", '{"sessions": [{}]}', '{"sessions": [3]}'])
def test_damaged_record_is_begun_anew(time: Clock, tmp_path: Path, content: str) -> None:
    (tmp_path / "goodput.json").write_text(content)
    with Goodput(tmp_path, 5, began=99.0):
        time.now += 1.0
    assert len(json.loads((tmp_path / "goodput.json").read_text())["sessions"]) == 1


def test_nothing_yet() -> None:
    assert summed([])["goodput"] == 0.0


def test_summary_line() -> None:
    found = {"goodput": 0.9, "wall_seconds": 3725.0, "seconds": {"steps": 3352.5, "compile": 372.5}}
    assert said(found) == "goodput 90.0% of 1:02:05 h; compiling 10.0%"
    assert said({**found, "wall_seconds": 59.6, "seconds": {}}) == "goodput 90.0% of 60 s"
