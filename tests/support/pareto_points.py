"""Accuracies joined with made-up times, for tests of the Pareto page and picture."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from made_up_records import record

from export.lab.pareto import stored
from export.lab.pareto.accuracies import accuracies, latencies, sizes
from export.lab.pareto.timings import Point, join, of_published
from export.lab.record import Record

#: Each would end a script element, an attribute or a comment, if it stood there as it is.
HOSTILE = "</script><script>document.title='owned'</script>\"'><img src=x onerror=alert(1)><!-- & \u2028 \\"


def whole(model: str, size: int, ms: float, **changes: Any) -> Record:
    """A record of a registry model as a store holds it."""
    facts = {
        "model": model, "overrides": {}, "form": "deploy", "part": "classifier", "image_size": [size, size],
        "params": 1_000_000, "macs": 1_000_000_000,
    }  # fmt: skip
    return record(model, ms, **{"subject": facts, "study": "bench", **changes})


def store() -> list[Record]:
    """All networks on two runtimes and two batches; each next one in the registry takes longer."""
    found = []
    for runtime, factor in (("onnxruntime", 1.0), ("xla", 2.0)):
        for batch in (1, 8):
            place = 0
            for model, at in sizes(accuracies()).items():
                for size in at:
                    place += 1
                    ms = factor * batch * (5 + place)
                    heat = f"{runtime}{batch}"
                    found.append(whole(model, size, ms, runtime=runtime, batch=batch, heat=heat, calls=20))
    return found


def points() -> list[Point]:
    """Measured on two runtimes in two batches, and as published."""
    timings = stored.timings(store()) + of_published(latencies())
    return join(accuracies(), timings)


def hostile_points() -> list[Point]:
    """Every string that a store may hold is hostile."""
    machine = {"processor": HOSTILE, "cpus": 2, "system": HOSTILE}
    record = whole(
        "swin_t", 224, 5.0, command=HOSTILE, versions={HOSTILE: HOSTILE}, machine=machine, runtime=HOSTILE
    )
    return [
        replace(point, accuracy=replace(point.accuracy, source=HOSTILE, training=HOSTILE))
        for point in join(accuracies(), stored.timings([record]))
    ]
