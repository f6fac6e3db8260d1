"""Which layers must stay float for the accuracy of an int8 or fp8 file? Gated, searched, gated again.

    all layers --> gate, top-1 --passed--> ships as it is
                     |
                     +--> search --> the layers found stay float --> gate, top-1

The search (`precision/search.py`) measures each layer's share of the error on calibration images, by
quantising it alone; the gate and the validation images, which it does not see, have the last word.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from export.agreement import Agreement
from export.gate import Gate, worst
from export.parity import difference
from export.precision.search import MAX_RUNS, Found, Measured, Tell, Words, search
from export.quantize.verdict import Searched, loses_too_much
from export.quantize.work import Quantised, Quantiser
from export.runtimes.onnxruntime import OnnxSession

#: Images of one run of the search.
SEARCH_IMAGES = 8
#: The search aims below the limit, as it sees other and fewer images than the gate; if the gate fails still,
#: or top-1 does, it aims lower by this factor, this many times.
AIM, LOWER_AIM, LOWERED = 0.9, 0.7, 3
NO_LAYER = "no layer can be quantised: the accuracy is within its bound only with all of them in float"
NOT_THE_GATE = "the layers that the search found are enough for its images, and not for the gate's"


@dataclass(frozen=True)
class Settled:
    """The file that ships (or is refused), its gate, its top-1 on the validation images (None without), and
    what the search did (None if there was no need, or it was not allowed)."""

    done: Quantised
    gate: Gate
    agreement: Agreement | None
    searched: Searched | None = None

    @property
    def good(self) -> bool:
        return self.gate.passed and not loses_too_much(self.agreement)


def settle(
    quantiser: Quantiser,
    gate: Callable[[bytes], Gate],
    agree: Callable[[bytes], Agreement | None],
    *,
    may_search: bool,
    tell: Tell = lambda done, most, what: None,
) -> Settled:
    """Gates the file with all layers quantised, and finds layers that stay float if it misses its accuracy.

    Args:
      gate, agree: of an ONNX file; `agree` is asked only if the gate passed.
      may_search: False leaves a failure as it is.

    Raises:
      ValueError: a range without a scale; one line.
    """

    def judged(done: Quantised) -> Settled:
        found = gate(done.model)
        return Settled(done, found, agree(done.model) if found.passed else None)

    first = judged(quantiser.write())
    if first.good or not may_search:
        return first
    finder = _Finder(quantiser, tell)
    aim = AIM * first.gate.limit
    if first.gate.passed:  # top-1 is what fails: there is no telling which error is small enough for it
        aim = min(aim, LOWER_AIM * finder.error(frozenset()))
    best, tried = first, set()
    for lowered in range(1 + LOWERED):
        found, reasons = finder.find(aim * LOWER_AIM**lowered)
        if found.kept.issuperset(quantiser.layers):
            note = found.note or NO_LAYER
            return _with(best, _searched(found, reasons, finder.runs, first, best, note))
        if found.kept in tried:
            continue
        tried.add(found.kept)
        best = judged(quantiser.write(reasons))
        note = None if best.good else found.note or NOT_THE_GATE
        best = _with(best, _searched(found, reasons, finder.runs, first, best, note))
        if best.good or not found.passed:
            break
    return best


class _Finder:
    """Searches; files that were run are remembered from one aim to the next."""

    def __init__(self, quantiser: Quantiser, tell: Tell) -> None:
        self.quantiser, self.tell = quantiser, tell
        count = min(max(SEARCH_IMAGES, quantiser.batch), len(quantiser.images))
        count = max(count - count % quantiser.batch, quantiser.batch)
        filled = np.resize(np.arange(len(quantiser.images)), count)  # a small folder is shown again
        self._images = quantiser.images[filled]
        self._want = self._answers(quantiser.base)
        self._errors: dict[frozenset[str], float] = {frozenset(quantiser.layers): 0.0}

    @property
    def runs(self) -> int:
        return len(self._errors) - 1  # the base was run to compare with

    def error(self, kept: frozenset[str]) -> float:
        """Largest difference from the float file with the layers in `kept` float, of its largest answer."""
        if kept not in self._errors:
            got = self._answers(self.quantiser.write(dict.fromkeys(kept, "")).model)
            self._errors[kept] = difference(got, self._want, logits=False).relative
        return self._errors[kept]

    def find(self, aim: float) -> tuple[Found, dict[str, str]]:
        """What the search found, and the layers that stay float -> why."""
        words = Words(self.quantiser.grid.name, "float")
        owners = {layer: layer.replace(".", "/") for layer in self.quantiser.layers}

        def measure(kept: frozenset[str]) -> Measured:
            error = self.error(kept)
            return Measured(error, error <= aim)

        found = search(owners, (), measure, aim, self.tell, MAX_RUNS, words)
        reasons = {
            layer: f"{words.narrow} of {part.name.replace('/', '.')} alone costs {part.error:.2g}"
            for part in found.parts
            for layer in sorted(part.nodes)
        }
        return found, reasons

    def _answers(self, model: bytes) -> np.ndarray:
        session = OnnxSession(model)
        try:
            batch = self.quantiser.batch
            parts = [
                session.run(self._images[start : start + batch])[session.outputs[0]]
                for start in range(0, len(self._images), batch)
            ]
        finally:
            session.close()
        return np.concatenate(parts)


def _searched(
    found: Found, reasons: dict[str, str], runs: int, first: Settled, last: Settled, note: str | None
) -> Searched:
    return Searched(reasons, runs, MAX_RUNS, _error(first.gate), _error(last.gate), note)


def _with(settled: Settled, searched: Searched) -> Settled:
    return Settled(settled.done, settled.gate, settled.agreement, searched)


def _error(gate: Gate) -> float:
    line = worst(gate.comparisons, "model.onnx")
    assert line is not None, "every gate compares the file"
    return line.difference.relative
