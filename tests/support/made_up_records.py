"""Records of the latency lab with made-up times, for tests of what is made from records."""

from __future__ import annotations

import random
from typing import Any

from export.lab.record import Record
from export.lab.setting import Setting


def record(
    name: str,
    ms: float,
    *,
    heat: str = "h1",
    runtime: str = "onnxruntime",
    device: str = "cpu",
    spread: float = 0.01,
    calls: int = 60,
    seed: int = 0,
    disturbed: tuple[int, ...] = (),
    memory: dict[str, int] | None = None,
    gpu: str | None = None,
    **changes: Any,
) -> Record:
    """Times of `ms` milliseconds, give or take `spread` of it (normal), the same for the same arguments."""
    draw = random.Random(f"{name} {heat} {runtime} {seed}")
    setting = {key: changes.pop(key) for key in list(changes) if key in Setting.__dataclass_fields__}
    subject = {
        "model": name, "overrides": {}, "form": "deploy", "part": "classifier", "image_size": [224, 224],
        "params": 25_000_000, "macs": 4_100_000_000,
    }  # fmt: skip
    state = {"load": 0.5, "gpu": None if gpu is None else {"name": gpu}}
    fields: dict[str, Any] = {
        "study": "bench", "heat": heat, "name": name, "runtime": runtime, "device": device,
        "subject": subject, "setting": Setting(**setting).as_dict(),
        "samples": [round(ms * (1 + spread * draw.gauss(0, 1)), 4) for _ in range(calls)],
        "disturbed": list(disturbed), "warm_up": 10, "stable": True, "clock": "perf_counter",
        "memory": {"file": 100_000_000} if memory is None else memory,
        "conditions": {"before": state, "after": state},
        "machine": {"system": "Linux x86_64", "processor": "A Processor", "cpus": 2},
        "versions": {"python": "3.11.0", "jax": "0.10.2", "onnxruntime": "1.27.0"},
        "command": f"python -m export.bench {name}", "date": "2026-11-22T12:00:00+00:00",
    }  # fmt: skip
    return Record(**{**fields, **changes})
