"""The first signal asks for a save, the second ends the process, even where Python's handlers cannot run."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from train_tpu.checkpointing import interrupt
from train_tpu.checkpointing.interrupt import StopRequest


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """Where the process would have ended: (signal, why)."""
    calls: list[tuple[int, str]] = []
    monkeypatch.setattr(interrupt, "_leave", lambda number, why: calls.append((number, why)))
    return calls


def until(condition, seconds: float = 10.0) -> None:
    """Wait for the second thread."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    assert condition()


def test_first_signal_is_noted_and_the_second_leaves(left: list, capsys: pytest.CaptureFixture[str]) -> None:
    with StopRequest() as stop:
        assert not stop.now()
        signal.raise_signal(signal.SIGTERM)
        assert stop.now() and stop.exit_code == 143 and stop.name == "SIGTERM"
        said = ""

        def spoken() -> bool:
            nonlocal said
            said += capsys.readouterr().err
            return "SIGTERM: saving after this step" in said

        until(spoken)
        assert left == []
        signal.raise_signal(signal.SIGINT)
        until(lambda: left == [(2, "stopping at once, nothing saved since the last checkpoint")])
        assert stop.exit_code == 143  # what was asked first


def test_nothing_to_lose(left: list) -> None:
    with StopRequest() as stop, stop.nothing_to_lose():
        signal.raise_signal(signal.SIGTERM)
        until(lambda: len(left) == 1)
        assert left[0][0] == signal.SIGTERM and "nothing to save yet" in left[0][1]
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(SystemExit) as ended, stop.nothing_to_lose():
            pytest.fail("compiled all the same")
        assert ended.value.code == 143


def test_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with StopRequest():
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert signal.set_wakeup_fd(-1) == -1


# A call that does not return to the interpreter, as a long compilation or a stuck device.
STUCK = """
import ctypes, sys
from train_tpu.checkpointing.interrupt import StopRequest
with StopRequest():
    print("ready", flush=True)
    for _ in range(3):  # a signal ends a sleep
        ctypes.CDLL(None).sleep(60)
"""


def test_second_signal_ends_a_process_that_is_stuck(repository: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK],
        cwd=repository,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stderr.readline() == "\n"
        assert "saving after this step" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 143
        assert "stopping at once" in process.stderr.read()
