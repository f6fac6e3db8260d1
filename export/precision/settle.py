"""The precision of a file, settled: measured, gated, and cured by float32 islands where it must be.

    typed graph --> ranges --> gate --passed, and nothing overflows--> ships as it is
                                 |
                                 +--> search --> islands --> gate again

ONNX Runtime's CPU provider drops pairs of Casts, so that a float16 file computes in float32 there: neither
rounding nor overflow of activations shows. So the gate runs a float32 copy that rounds every tensor as the
file says (`emulate.py`), and the very file too where ONNX Runtime can.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx

from export import parity
from export.gate import EMULATED, Gate
from export.precision.islands import half_nodes, keep_float32, names_of, select
from export.precision.ranges import Overflow, has_infinite_weights, magnitudes, overflows
from export.precision.report import Island, Precision
from export.precision.search import MAX_RUNS, Found, Measured, Tell, search
from export.precision.task import Measure, Task, initializers, rounding_copy

__all__ = ["Settled", "Task", "initializers", "settle"]

#: Images whose values are looked at for overflow.
RANGE_IMAGES = 32
#: The search aims below the limit, as it sees fewer images than the gate.
SEARCH_AIM = 0.9
NOT_THE_GATE = "the modules that the search found are enough for its images, and not for all of the gate's"
#: If the gate still fails, the search aims lower by this factor, this many times.
LOWER_AIM, LOWERED = 0.7, 3


@dataclass(frozen=True)
class Settled:
    """`model`: the file that ships; `runnable`: what ONNX Runtime can run in its place (the file itself, or
    the float32 copy that rounds as it does); `precision`: None for float32."""

    model: bytes
    runnable: bytes
    gate: Gate
    precision: Precision | None


def settle(
    model: bytes,
    task: Task,
    *,
    keep: Collection[str],
    may_search: bool,
    float32_weights: Callable[[], Mapping[str, np.ndarray]],
    agrees: Callable[[bytes], bool] = lambda runnable: True,
    tell: Tell = lambda done, most, what: None,
) -> Settled:
    """Gates a half-precision file, and finds float32 islands if it fails or overflows.

    Args:
      keep: modules that stay float32 because the user says so.
      may_search: False fails instead of searching.
      float32_weights: the initializers of the float32 export; called only if there are islands.
      agrees: whether a file that passed the gate is right on more images (of `Settled.runnable`); if not,
        the search aims lower, too.

    Raises:
      NoSuchModule: (a ValueError) a name in `keep` that matches no module.
    """
    return _Settling(model, task, keep, float32_weights, agrees, tell).run(may_search)


class _Settling:
    """One file on its way; `typed` is the graph all in half precision."""

    def __init__(
        self,
        model: bytes,
        task: Task,
        keep: Collection[str],
        float32_weights: Callable[[], Mapping[str, np.ndarray]],
        agrees: Callable[[bytes], bool],
        tell: Tell,
    ) -> None:
        self.task, self.agrees, self.tell = task, agrees, tell
        self.typed = onnx.load_model_from_string(model)
        self.owners = half_nodes(self.typed)
        self.asked = frozenset(select(self.typed, keep) & self.owners.keys())
        self._make_weights = float32_weights
        self._weights: Mapping[str, np.ndarray] | None = None
        self._errors: dict[frozenset[str], tuple[float, float]] = {}
        self._copy = b""  # what was gated last
        self._measure = Measure(task)

    @property
    def weights(self) -> Mapping[str, np.ndarray]:
        if self._weights is None:
            self._weights = self._make_weights()
        return self._weights

    def run(self, may_search: bool) -> Settled:
        self.largest, over = self._ranges()
        left = [found for found in over if not self.asked.issuperset(self._half(found.nodes))]
        model = self._with(self.asked)
        gate = self._gate(model, left)
        before = self._worst(gate)
        if not may_search or self._passed(gate):
            return self._settled(model, gate, self.asked, over, None, before)
        held = self.asked.union(*(self._whole_modules(found.nodes) for found in left))
        if left:  # that is often all that is wrong
            model = self._with(held)
            gate = self._gate(model, [])
            if self._passed(gate):
                cured = Found(held, (), before, self._worst(gate), 0, True)
                return self._settled(model, gate, held, over, cured, before)
        # one that passed is right here, and not on more images: aim below it
        error = self._worst(gate) if gate.passed else np.inf
        aim = min(SEARCH_AIM * self.task.limit, LOWER_AIM * error)
        aims = [aim * LOWER_AIM**lowered for lowered in range(1 + LOWERED)]
        found, model, gate = self._attempt(held, aims[0])
        for aim in aims[1:]:
            if not found.passed or self._passed(gate):
                break
            found, model, gate = self._attempt(held, aim)
        return self._settled(model, gate, found.kept, over, found, before)

    def _worst(self, gate: Gate) -> float:
        return self.task.worst(gate.comparisons)

    def _passed(self, gate: Gate) -> bool:
        """Of the file gated last."""
        return gate.passed and self.agrees(self._copy)

    def _attempt(self, held: frozenset[str], aim: float) -> tuple[Found, bytes, Gate]:
        """The search's islands, the file with them, and its gate."""
        found = self._search(held, aim)
        model = self._with(found.kept)
        return found, model, self._gate(model, [])

    def _ranges(self) -> tuple[dict[str, float], list[Overflow]]:
        weights = self.weights if has_infinite_weights(self.typed) else {}
        images = self.task.images[: max(RANGE_IMAGES, self.task.batch.typical)]
        largest = magnitudes(self.typed, weights, images, self.task.batch.typical)
        return largest, overflows(self.typed, weights, largest)

    def _half(self, nodes: Collection[str]) -> frozenset[str]:
        return frozenset(node for node in nodes if node in self.owners)

    def _whole_modules(self, nodes: Collection[str]) -> frozenset[str]:
        """All nodes that the modules of `nodes` own themselves."""
        modules = {self.owners[node] for node in self._half(nodes)}
        return frozenset(node for node, owner in self.owners.items() if owner in modules)

    def _with(self, kept: Collection[str]) -> bytes:
        graph = keep_float32(self.typed, kept, self.weights) if kept else self.typed
        return graph.SerializeToString()

    def _gate(self, model: bytes, left: Collection[Overflow]) -> Gate:
        """Of the emulated copy, and of the very file too if ONNX Runtime runs it; `left`: overflows that no
        island cures."""
        self._copy = rounding_copy(model)
        gate = _run_gate(self.task, self._copy, EMULATED)
        lines = (*gate.comparisons, *self.task.as_it_is(model))
        sentences = tuple(found.sentence(self.task.precision) for found in left)
        return replace(gate, comparisons=lines, emulated=True, overflows=sentences)

    def _search(self, held: frozenset[str], aim: float) -> Found:
        def measure(kept: frozenset[str]) -> Measured:
            error, agreement = self._measured(kept)
            agrees = not self.task.trained or parity.enough_agreement(agreement, len(self._measure.images))
            return Measured(error, error <= aim and agrees)

        return search(self.owners, held, measure, aim, self.tell)

    def _measured(self, kept: frozenset[str]) -> tuple[float, float]:
        """Error, and share of the same top-1 classes, on the images of the search."""
        if kept not in self._errors:
            self._errors[kept] = self._measure(rounding_copy(self._with(kept)))
        return self._errors[kept]

    def _settled(
        self,
        model: bytes,
        gate: Gate,
        kept: frozenset[str],
        over: list[Overflow],
        found: Found | None,
        before: float,
    ) -> Settled:
        precision = Precision(
            name=self.task.precision,
            nodes=len(self.owners),
            largest=max(self.largest.values(), default=0.0),
            largest_tensor=max(self.largest, key=lambda name: self.largest[name], default=""),
            islands=tuple(self._island(name, kept, over, found) for name in names_of(kept, self.owners)),
            overflows=tuple(over),
            error_before=before,
            error_after=self._worst(gate),
            searched=found is not None,
            runs=self._measure.runs,
            most_runs=MAX_RUNS,
            note=None if found is None or gate.passed else found.note or NOT_THE_GATE,
        )
        return Settled(model, self._copy, gate, precision)

    def _island(self, name: str, kept: frozenset[str], over: list[Overflow], found: Found | None) -> Island:
        nodes = frozenset(select(self.typed, [name]) & kept)
        makers = {tensor: node.name for node in self.typed.graph.node for tensor in node.output}
        largest = max((v for tensor, v in self.largest.items() if makers[tensor] in nodes), default=0.0)
        parts = [part for part in (found.parts if found else ()) if part.nodes & nodes]
        overflowing = [each for each in over if nodes.intersection(each.nodes)]
        why = "overflow" if overflowing else "error" if parts else "asked"
        if nodes & self.asked:
            why = "asked"
        elif overflowing:
            largest = max(largest, *(each.largest for each in overflowing))
        share = max((part.error for part in parts), default=None)
        return Island(name, why, len(nodes), largest, share)


def _run_gate(task: Task, model: bytes, candidate: str) -> Gate:
    return task.gate(model, candidate)
