"""What a lowering works with: the graph being built and the layouts of the values so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from export.lower.graph import Graph, Tensor
from export.lower.layout import Layouts, Perm, identity, permute
from export.lower.program import Op, Value


@dataclass
class Context:
    graph: Graph
    layouts: Layouts

    def emit(self, kind: str, op: Op, inputs: Sequence[Tensor], perm: Perm, **attrs: Any) -> Tensor:
        """Append the node that computes `op`'s first output in layout `perm`."""
        value = op.output
        tensor = self.graph.node(kind, inputs, permute(value.shape, perm), value.dtype, op.where, **attrs)
        self.layouts.put(value, perm, tensor)
        return tensor

    def choose(self, values: Sequence[Value], rank: int) -> Perm:
        """The layout of rank `rank` in which `values` cost the fewest Transposes; the largest value breaks
        ties."""
        values = [value for value in values if value.data is None and value.rank == rank]
        ordered = sorted(values, key=lambda value: -int(np.prod(value.shape, dtype=float)))
        candidates = [perm for value in ordered for perm in self.layouts.perms(value)]
        if not candidates:
            return identity(rank)
        return min(candidates, key=lambda perm: sum(self.layouts.cost(value, perm) for value in values))
