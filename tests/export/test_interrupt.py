"""Ctrl-C that comes where Python drops exceptions."""

from __future__ import annotations

import gc
import os
import signal

import pytest

from export.interrupt import Interrupted, listening


def test_what_a_callback_drops_is_remembered_and_not_printed(capfd: pytest.CaptureFixture[str]) -> None:
    def interrupts(phase: str, info: dict[str, int]) -> None:
        gc.callbacks.remove(interrupts)
        os.kill(os.getpid(), signal.SIGTERM)

    with listening() as wish:
        gc.callbacks.append(interrupts)
        gc.collect()  # the exception of the signal ends in the collector's callback
        assert wish.signum == signal.SIGTERM
        with pytest.raises(Interrupted) as raised:
            wish.check()
    assert raised.value.exit_status == 143
    assert capfd.readouterr().err == ""


def test_other_exceptions_that_are_dropped_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    monkeypatch.setattr("sys.unraisablehook", lambda what: told.append(what.exc_type))

    def fails(phase: str, info: dict[str, int]) -> None:
        gc.callbacks.remove(fails)
        raise KeyError("a mistake")

    with listening():
        gc.callbacks.append(fails)
        gc.collect()
    assert told == [KeyError]
