"""One operation of a runtime with its time, and the profile of a call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Op:
    """What a runtime executes as one: an operator, a fused kernel.

    Attributes:
      name, type: in the runtime's words.
      kind: one of `kinds.KINDS`.
      ms: of one call; where several operations ran at once, its part of the time.
      module: path of the Flax module it belongs to, "" for the network itself, None if nothing tells.
      count: how often it runs in one call.
      heavy: modules of the convolutions and products in it, where it holds several that were fused.
    """

    name: str
    type: str
    kind: str
    ms: float
    module: str | None
    count: int = 1
    heavy: tuple[str, ...] = ()


@dataclass(frozen=True)
class Profile:
    """A call, taken apart.

    Attributes:
      model, runtime, device, setting, facts: what ran, and how.
      ops: in the order of the runtime.
      latency_ms: of a call without the profiler; profiled_ms: with it (medians).
      runs: calls under the profiler; the time of an operation is its median.
      how: how time was measured and modules were found, in a sentence.
    """

    model: str
    runtime: str
    device: str
    setting: Mapping[str, Any]
    facts: Mapping[str, Any]
    ops: tuple[Op, ...]
    latency_ms: float
    profiled_ms: float
    runs: int
    how: str
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def total_ms(self) -> float:
        return sum(op.ms for op in self.ops)

    @property
    def accounted(self) -> float:
        """Share of the profiled call that is in the operations; the rest is between them."""
        return self.total_ms / self.profiled_ms

    @property
    def overhead(self) -> float:
        """How much longer a call takes under the profiler: 0.05 is 5 %."""
        return self.profiled_ms / self.latency_ms - 1

    @property
    def unattributed(self) -> tuple[Op, ...]:
        return tuple(op for op in self.ops if op.module is None)

    @property
    def unattributed_ms(self) -> float:
        return sum(op.ms for op in self.unattributed)
