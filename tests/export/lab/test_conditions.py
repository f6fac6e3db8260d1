"""The state of the machine, read from a made-up nvidia-smi and a made-up /proc."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from export.lab import conditions
from export.lab.conditions import warnings

#: Answers to what it is asked; an older driver does not know the newer name of the throttle reasons.
SMI = """#!/bin/sh
case "$2" in
*clocks.sm*)
  printf "NVIDIA T4, 550.54, Enabled, P0, 1590 MHz, 1590 MHz, 5000 MHz, 5001 MHz, "
  echo "61, 69.1 W, 70.00 W, 15360 MiB, 8 MiB";;
*ecc*) echo "Enabled";;
*clocks_throttle_reasons.active*) echo "0x0000000000000024";;
*) echo "Field is not a valid field to query."; exit 2;;
esac
"""


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(SMI)
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tool


def test_a_gpu_is_described_and_why_it_was_held_down(smi: Path) -> None:
    found = conditions.gpu()
    assert found is not None
    assert found["name"] == "NVIDIA T4" and found["clocks.sm"] == "1590 MHz"
    assert found["ecc.mode.current"] == "Enabled"
    assert found["reasons"] == ["software power cap", "software thermal slowdown"]
    assert not any("counters" in key for key in found)


@pytest.mark.parametrize(
    ("visible", "asked"), [(None, "0"), ("", "0"), ("3,1", "3"), ("GPU-12ab", "GPU-12ab"), ("MIG-1", "0")]
)
def test_it_is_the_gpu_that_cuda_shows(
    visible: str | None, asked: str, smi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smi.write_text('#!/bin/sh\ncase "$2" in *ecc*) echo "$1";; *) exit 2;; esac\n')
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = conditions.gpu()
    assert found is not None and found["ecc.mode.current"] == f"--id={asked}"


def test_a_tool_that_fails_is_no_gpu(smi: Path) -> None:
    smi.write_text("#!/bin/sh\nexit 9\n")
    assert conditions.gpu() is None


def test_no_tool_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert conditions.gpu() is None


def test_now_tells_what_this_machine_has() -> None:
    found = conditions.now()
    assert found["load"] >= 0
    assert found["switches"] >= 0
    stolen, total = found["stolen_seconds"], found["total_seconds"]
    assert stolen is None or 0 <= stolen <= total


def test_every_reason_has_a_word() -> None:
    assert conditions.reasons(0) == []
    assert len(conditions.reasons(0x1FF)) == 9
    assert set(conditions.reasons(0x1FF)) > conditions.THROTTLED


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ({}, {}, None),
        ({"load": 2.9}, {}, None),
        ({"load": 3.2}, {}, "3.2 processes wanted the 2 CPUs"),
        ({"stolen_seconds": 1, "total_seconds": 100}, {"stolen_seconds": 2, "total_seconds": 200}, None),
        ({"stolen_seconds": 1, "total_seconds": 100}, {"stolen_seconds": 9, "total_seconds": 200}, "8 %"),
        ({"cpu_mhz": 3000.0}, {"cpu_mhz": 2900.0}, None),
        ({"cpu_mhz": 3000.0}, {"cpu_mhz": 2000.0}, "CPU clock went from 3000 to 2000 MHz"),
        ({"gpu": {"clocks.mem": "5000 MHz"}}, {"gpu": {"clocks.mem": "405 MHz"}}, "GPU memory clock"),
        ({"gpu": {"clocks.mem": "[N/A]"}}, {"gpu": {"clocks.mem": "405 MHz"}}, None),
        ({"gpu": {}}, {"gpu": {"reasons": ["idle", "applications clocks"]}}, None),
        ({"gpu": {}}, {"gpu": {"reasons": ["software power cap"]}}, "throttled: software power cap"),
        (
            {"gpu": {"clocks_event_reasons_counters.hw_thermal_slowdown": "100 us"}},
            {"gpu": {"clocks_event_reasons_counters.hw_thermal_slowdown": "900 us"}},
            "throttled: hw thermal slowdown",
        ),
        (
            {"gpu": {"clocks_event_reasons_counters.hw_thermal_slowdown": "900 us"}},
            {"gpu": {"clocks_event_reasons_counters.hw_thermal_slowdown": "900 us"}},
            None,
        ),
    ],
)  # fmt: skip
def test_what_may_have_changed_the_times(
    before: dict[str, Any], after: dict[str, Any], said: str | None
) -> None:
    found = warnings(before, after, 2)
    assert (said is None) == (not found)
    assert said is None or said in found[0]
