"""The state of the machine before and after measuring: what may explain an odd number."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

#: What is asked of nvidia-smi; a group that this driver does not know is left out.
GPU_FIELDS: Sequence[Sequence[str]] = (
    ("name", "driver_version", "persistence_mode", "pstate", "clocks.sm", "clocks.max.sm", "clocks.mem",
     "clocks.max.mem", "temperature.gpu", "power.draw", "power.limit", "memory.total", "memory.used"),
    ("ecc.mode.current",),
    ("clocks_event_reasons.active",),
    ("clocks_throttle_reasons.active",),  # the same, as drivers before R535 call it
    ("clocks_event_reasons_counters.sw_power_cap", "clocks_event_reasons_counters.sw_thermal_slowdown",
     "clocks_event_reasons_counters.hw_thermal_slowdown",
     "clocks_event_reasons_counters.hw_power_brake_slowdown"),
)  # fmt: skip
#: Bits of `clocks_event_reasons.active` (NVML: NvmlClocksEventReasons).
REASONS = {
    0x1: "idle",
    0x2: "applications clocks",
    0x4: "software power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
    0x100: "display clocks",
}
#: Those that say that the GPU ran slower than it could.
THROTTLED = frozenset({"software power cap", "hardware slowdown", "software thermal slowdown",
                       "hardware thermal slowdown", "hardware power brake"})  # fmt: skip
#: Seconds to wait for nvidia-smi.
_PATIENCE = 20
#: Load beyond the processors that the measuring itself uses, stolen share of the time, and changes of clocks,
#: that are worth a warning.
BUSY, STOLEN, CLOCKS = 1.0, 0.02, 0.1


def now() -> dict[str, Any]:
    """JSON values; None for what cannot be read here. The keys are described in docs/results/README.md."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    stolen, total = _ticks()
    return {
        "load": load,
        "cpu_mhz": _megahertz(),
        "governor": _governor(),
        "stolen_seconds": stolen,
        "total_seconds": total,
        "switches": resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw,
        "gpu": gpu(),
    }


def warnings(before: Mapping[str, Any], after: Mapping[str, Any], cpus: int | None) -> list[str]:
    """What happened between two readings that may have changed the times, one phrase each."""
    found = []
    load = before.get("load")
    if load is not None and cpus and load > cpus + BUSY:
        found.append(f"{load:.1f} processes wanted the {cpus} CPUs before")
    total = _change(before, after, "total_seconds")
    stolen = _change(before, after, "stolen_seconds")
    if total and stolen is not None and stolen > STOLEN * total:
        found.append(f"the host took {100 * stolen / total:.0f} % of the CPU time")
    found += _changed("CPU clock", before.get("cpu_mhz"), after.get("cpu_mhz"))
    first, last = before.get("gpu") or {}, after.get("gpu") or {}
    found += _changed("GPU memory clock", _number(first, "clocks.mem"), _number(last, "clocks.mem"))
    reasons = [reason for reason in last.get("reasons", ()) if reason in THROTTLED]
    reasons += [
        key.rsplit(".", 1)[1].replace("_", " ")
        for key in last
        if "counters." in key and (_number(last, key) or 0) > (_number(first, key) or 0)
    ]
    if reasons:
        found.append(f"the GPU was throttled: {', '.join(dict.fromkeys(reasons))}")
    return found


def gpu() -> dict[str, Any] | None:
    """What nvidia-smi says of the first GPU that CUDA shows here, and `reasons` that hold its clocks down;
    None without one."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    found: dict[str, Any] = {}
    for fields in GPU_FIELDS:
        found |= _asked(tool, fields)
    if not found:
        return None
    mask = found.get("clocks_event_reasons.active") or found.get("clocks_throttle_reasons.active")
    try:
        found["reasons"] = reasons(int(str(mask), 16))
    except ValueError:
        found["reasons"] = []
    return found


def reasons(mask: int) -> list[str]:
    """In words."""
    return [word for bit, word in REASONS.items() if mask & bit]


def _asked(tool: str, fields: Sequence[str]) -> dict[str, str]:
    command = [tool, f"--id={_visible()}", f"--query-gpu={','.join(fields)}", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    values = [value.strip() for value in answer.strip().split(",")]
    return dict(zip(fields, values, strict=True)) if len(values) == len(fields) else {}


def _visible() -> str:
    """The first GPU that CUDA shows to this process, by number or identity."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    return first if first.isdecimal() or first.startswith("GPU-") else "0"


def _change(before: Mapping[str, Any], after: Mapping[str, Any], key: str) -> float | None:
    first, last = before.get(key), after.get(key)
    return None if first is None or last is None else last - first


def _changed(what: str, first: float | None, last: float | None) -> list[str]:
    if not first or not last or abs(last / first - 1) <= CLOCKS:
        return []
    return [f"{what} went from {first:.0f} to {last:.0f} MHz"]


def _number(found: Mapping[str, Any], key: str) -> float | None:
    """Of "1410 MHz"; None for "[N/A]"."""
    try:
        return float(str(found[key]).split()[0])
    except (KeyError, ValueError, IndexError):
        return None


def _ticks() -> tuple[float | None, float | None]:
    """(seconds that the host gave to others, seconds in all) of all processors together, since the start."""
    try:
        ticks = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        second = os.sysconf("SC_CLK_TCK")
        return ticks[7] / second, sum(ticks) / second
    except (OSError, ValueError, IndexError):
        return None, None


def _megahertz() -> float | None:
    """Mean over the processors."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return None
    found = [float(line.split(":")[1]) for line in lines if line.startswith("cpu MHz")]
    return round(sum(found) / len(found), 1) if found else None


def _governor() -> str | None:
    try:
        return Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").read_text().strip()
    except OSError:
        return None
