"""Networks and their parts by operations for each byte, and by operations a second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from export.lab.profile.kinds import HEAVY
from export.lab.profile.modules import UNATTRIBUTED, tree
from export.lab.profile.op import Op, Profile
from export.lab.profile.peaks import Peaks
from export.lab.profile.work import Work


@dataclass(frozen=True)
class Point:
    """A network, or one of its modules.

    Attributes:
      module: "" for the network.
      macs, bytes: of one call. Those of the network are hvjax's own count and that of the ONNX file's shapes,
        those of a module the file's.
      ms: of the network a call's without the profiler, of a module that of its operations in the profile.
    """

    model: str
    module: str
    macs: int
    bytes: int
    ms: float

    @property
    def flops(self) -> int:
        return 2 * self.macs

    @property
    def intensity(self) -> float:
        """Operations for each byte."""
        return self.flops / self.bytes

    @property
    def achieved(self) -> float:
        """Operations a second."""
        return self.flops / (self.ms / 1e3)

    @property
    def moved(self) -> float:
        """Bytes a second, if nothing was fused or found in a cache."""
        return self.bytes / (self.ms / 1e3)


def points(profile: Profile, work: Work, depth: int) -> list[Point]:
    """The network, then its modules down to `depth` levels that compute anything. A module whose convolutions
    and products are in operations that belong elsewhere (they were fused with those of others, or their
    origin was lost) is left out: its time is not known."""
    batch = int(profile.setting["batch"])
    found = [Point(profile.model, "", int(profile.facts["macs"]) * batch, work.bytes, profile.latency_ms)]
    for module in tree(profile.ops, depth).walk():
        inside = work.within(module.path)
        if module.path in ("", UNATTRIBUTED) or not inside.macs:
            continue
        computes = any(op.kind in HEAVY and op.ms > 0 for op in module.ops())
        if computes and not any(_shared(op, module.path) for op in profile.ops):
            found.append(Point(profile.model, module.path, inside.macs, inside.bytes, module.ms))
    return found


def _shared(op: Op, module: str) -> bool:
    """Whether it holds products of `module` and yet belongs elsewhere."""
    holds = any(_within(one, module) for one in op.heavy)
    return holds and (op.module is None or not _within(op.module, module))


def _within(path: str, module: str) -> bool:
    return f"{path}/".startswith(f"{module}/")


def rows(found: Sequence[Point], peaks: Peaks) -> list[dict[str, Any]]:
    """For CSV and JSON. `of_roof`: share of what the roof allows at that intensity; above 1 where fusing and
    caches spare bytes that are counted here."""
    return [
        {
            "model": point.model,
            "module": point.module,
            "gflop": point.flops / 1e9,
            "mbytes": point.bytes / 1e6,
            "ms": point.ms,
            "flop_per_byte": point.intensity,
            "gflop_per_second": point.achieved / 1e9,
            "gbyte_per_second": point.moved / 1e9,
            "of_peak": point.achieved / peaks.flops,
            "of_roof": point.achieved / peaks.roof(point.intensity),
        }
        for point in found
    ]
