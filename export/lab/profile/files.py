"""What `export.profile` writes of a profile: profile.json, .csv, .png, .svg and .html."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from export import provenance
from export.lab import written
from export.lab.profile import flame, page
from export.lab.profile.kinds import by_kind, unknown
from export.lab.profile.modules import UNATTRIBUTED, tree
from export.lab.profile.op import Profile

ENDINGS = (".json", ".csv", ".png", ".svg", ".html")
_NAME = "profile"


def write(profile: Profile, folder: Path, depth: int | None = None) -> list[Path]:
    """All files, each whole or as it was before.

    Args:
      depth: levels of modules in the pictures and in the table of modules; all by default.
    """
    root = tree(profile.ops, depth)
    made = {
        f"{_NAME}.json": (json.dumps(as_dict(profile, depth), indent=1) + "\n").encode(),
        f"{_NAME}.csv": as_csv(profile).encode(),
        **written.pictures(_NAME, lambda figure: flame.draw(figure, profile, root)),
        f"{_NAME}.html": page.html(profile, root).encode(),
    }
    return written.write(folder, made)


def as_dict(profile: Profile, depth: int | None = None) -> dict[str, Any]:
    """Everything, JSON values. Modules hold the time of all below them; their `own` times add up to the
    total."""
    total = profile.total_ms
    return {
        "model": profile.model,
        "runtime": profile.runtime,
        "device": profile.device,
        "setting": dict(profile.setting),
        "subject": dict(profile.facts),
        "latency_ms": profile.latency_ms,
        "profiled_ms": profile.profiled_ms,
        "operations_ms": total,
        "accounted": profile.accounted,
        "profiler_overhead": profile.overhead,
        "unattributed_ms": profile.unattributed_ms,
        "runs": profile.runs,
        "how": profile.how,
        "kinds": {kind: {"ms": ms, "share": ms / total} for kind, ms in by_kind(profile.ops).items()},
        "unknown_types": unknown(profile.ops),
        "unattributed": [op.name for op in profile.unattributed],
        "modules": [
            {
                "path": module.path,
                "ms": module.ms,
                "share": module.ms / total,
                "own_ms": sum(op.ms for op in module.own),
                "operations": sum(op.count for op in module.ops()),
                "kinds": by_kind(module.ops()),
            }
            for module in tree(profile.ops, depth).walk()
        ],
        "operations": [
            {
                "name": op.name,
                "type": op.type,
                "kind": op.kind,
                "ms": op.ms,
                "module": op.module,
                "count": op.count,
            }
            for op in profile.ops
        ],
        "machine": provenance.machine(),
        "gpu": provenance.gpu() if profile.device == "gpu" else None,
        "versions": {**provenance.versions(), **profile.versions},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def as_csv(profile: Profile) -> str:
    """A row per operation, in the order of the runtime; the network itself is module ""."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("module", "operation", "type", "kind", "ms", "share", "count"))
    for op in profile.ops:
        module = UNATTRIBUTED if op.module is None else op.module
        share = op.ms / profile.total_ms if profile.total_ms else 0.0
        writer.writerow((module, op.name, op.type, op.kind, f"{op.ms:.6g}", f"{share:.6g}", op.count))
    return text.getvalue()


def there(folder: Path, name: str, endings: Sequence[str]) -> Path | None:
    """One of the files that would be written, if it exists."""
    return next((path for end in endings if (path := folder / f"{name}{end}").exists()), None)
