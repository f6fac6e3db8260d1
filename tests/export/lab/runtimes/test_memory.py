from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from export.lab.runtimes import memory
from export.lab.runtimes.memory import Growth, resident, total


def test_growth_is_what_came_since() -> None:
    states = iter([100, 150, 90])
    growth = Growth(lambda: next(states))
    assert growth.entry("loaded") == {"loaded": 50}
    assert growth.entry("running") == {"running": 0}, "memory that others gave back is not ours"
    assert growth.entry("peak", 400) == {"peak": 300}


def test_what_is_not_known_is_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "_PAGES", tmp_path / "no such file")
    assert resident() is None
    assert Growth(resident).entry("loaded") == {}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_resident_memory_sees_pages_that_are_written() -> None:
    growth = Growth(resident)
    size = 1 << 26  # far more than the noise of an interpreter
    held = np.ones(size, np.uint8)
    assert growth.entry("array")["array"] > 0.9 * size
    del held
    assert growth.entry("array")["array"] < 0.5 * size


def test_one_figure_of_several_that_overlap() -> None:
    assert total({"file": 9, "weights": 5, "activations": 3, "loaded": 10, "running": 12}) == 12
    assert total({"file": 9, "weights": 5, "activations": 3, "loaded": 10}) == 8
    assert total({"file": 9, "loaded": 10}) == 10
    assert total({"file": 9, "engine": 4}) is None
