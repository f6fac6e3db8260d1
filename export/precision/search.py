"""Which modules must stay float32? The fewest with which the file comes within its limit, in bounded work.

1. A module's share of the error is measured by running the graph with only that module in half precision.
   Errors of different modules are nearly independent, so their squares add: from the shares one sees which
   modules must stay float32 for the rest to be within the limit.
2. Modules are looked at from the outside in (`stage3`, then its blocks, then their layers): a module is split
   only if most of its error comes from a smaller part of it.
3. The choice is verified by running it, enlarged until it passes, and what turns out not to be needed is
   given back.

Every step is a run of one graph on a few images; there are at most `MAX_RUNS`. Layers that must stay float in
int8 and fp8 files (`quantize/settle.py`) are searched in the same way: only the words differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from export.precision.islands import OWN

MAX_RUNS = 80
#: Runs kept back for verifying and giving back what is not needed.
VERIFYING_RUNS = 24
#: A module is split if parts of it that hold at most this share of its nodes make ...
SMALL_PART = 0.6
#: ... at least this share of its squared error.
MOST_ERROR = 0.8
#: Stands for an error that is not finite in sums of squares.
HUGE = 1e6


@dataclass(frozen=True)
class Measured:
    """The error of one choice of float32 nodes on the images of the search, and whether it is accepted."""

    error: float
    passed: bool


#: Nodes that stay float32 -> what comes out.
Measure = Callable[[frozenset[str]], Measured]
#: Runs done, runs allowed, what is going on.
Tell = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Words:
    """What the two precisions are called in messages."""

    narrow: str = "half precision"
    wide: str = "float32"


@dataclass(frozen=True)
class Part:
    """A module, its nodes, and the error with only it in half precision."""

    name: str
    nodes: frozenset[str]
    error: float


@dataclass(frozen=True)
class Found:
    """`kept`: nodes that stay float32, with `fixed` ones; `parts`: what the search added, largest share of
    the error first; `before` and `after`: errors without and with all islands; `passed`: whether that is
    enough; `note`: why it is not."""

    kept: frozenset[str]
    parts: tuple[Part, ...]
    before: float
    after: float
    runs: int
    passed: bool
    note: str | None = None


class OutOfRuns(Exception):
    """The next run would be one too many."""


class Runs:
    """Counts, remembers and announces runs."""

    def __init__(self, measure: Measure, tell: Tell, most: int, words: Words) -> None:
        self._measure, self._tell, self.most, self.words = measure, tell, most, words
        self._known: dict[frozenset[str], Measured] = {}

    @property
    def done(self) -> int:
        return len(self._known)

    def __call__(self, kept: frozenset[str], what: str) -> Measured:
        if kept not in self._known:
            if self.done >= self.most:
                raise OutOfRuns
            self._tell(self.done, self.most, what)
            self._known[kept] = self._measure(kept)
        return self._known[kept]


def search(
    owners: Mapping[str, str],
    fixed: Collection[str],
    measure: Measure,
    target: float,
    tell: Tell = lambda done, most, what: None,
    most: int = MAX_RUNS,
    words: Words = Words(),
) -> Found:
    """Finds the nodes that must stay float32.

    Args:
      owners: nodes in half precision -> their module, as `islands.half_nodes` gives them.
      fixed: nodes that stay float32 whatever the search finds: overflows, and what the user asked for.
      measure: runs the graph with these nodes in float32.
      target: the error that `measure` accepts.
    """
    runs = Runs(measure, tell, most, words)
    held = frozenset(fixed)
    before = runs(frozenset(), f"all in {words.narrow}")
    start = runs(held, f"with the modules that overflow in {words.wide}")
    if start.passed:
        return Found(held, (), before.error, start.error, runs.done, True)
    every = held | frozenset(owners)
    most_precise = runs(every, f"all in {words.wide}")
    if not most_precise.passed:
        note = f"all in {words.wide} it is off by {most_precise.error:.1e}: precision is not what is wrong"
        return Found(held, (), before.error, start.error, runs.done, False, note)
    try:
        ranked = _shares(owners, held, every, target, runs)
        parts = _enough(ranked, held, target, runs)
    except OutOfRuns:
        note = f"no choice of {words.wide} modules passed within {most} runs"
        return Found(held, (), before.error, start.error, runs.done, False, note)
    parts = _give_back(parts, held, runs)
    kept = held.union(*(part.nodes for part in parts))
    after = runs(kept, "the result") if parts else start
    return Found(kept, tuple(parts), before.error, after.error, runs.done, True)


def _shares(
    owners: Mapping[str, str], held: frozenset[str], every: frozenset[str], target: float, runs: Runs
) -> list[Part]:
    """Modules with their shares of the error, largest first; split where the error sits in a part."""

    def measured(name: str, nodes: frozenset[str]) -> Part:
        return Part(name, nodes, runs(every - nodes, f"only {name} in {runs.words.narrow}").error)

    free = {node: owner for node, owner in owners.items() if node not in held}
    ranked = _by_error([measured(name, nodes) for name, nodes in _split("", frozenset(free), free).items()])
    whole: set[str] = set()
    while True:
        chosen = ranked[: _needed(ranked, target)]
        largest = next((part for part in chosen if part.name not in whole), None)
        if largest is None:
            return ranked
        pieces = _split(largest.name, largest.nodes, free)
        if len(pieces) < 2 or runs.done + len(pieces) > runs.most - VERIFYING_RUNS:
            whole.add(largest.name)
            continue
        parts = [measured(name, nodes) for name, nodes in pieces.items()]
        if _concentrated(parts):
            ranked = _by_error([part for part in ranked if part is not largest] + parts)
        else:
            whole.add(largest.name)


def _enough(ranked: list[Part], held: frozenset[str], target: float, runs: Runs) -> list[Part]:
    """The first of `ranked` with which the graph passes: as many as the shares say, more while it does not,
    then as few as a bisection finds."""
    low, count, step = 0, _needed(ranked, target), 1
    while not runs(_union(held, ranked[:count]), f"{count} modules in {runs.words.wide}").passed:
        low, count, step = count, min(count + step, len(ranked)), 2 * step
    while count - low > 1:
        middle = (low + count) // 2
        try:
            passed = runs(_union(held, ranked[:middle]), f"{middle} modules in {runs.words.wide}").passed
        except OutOfRuns:
            break
        low, count = (low, middle) if passed else (middle, count)
    return ranked[:count]


def _give_back(parts: list[Part], held: frozenset[str], runs: Runs) -> list[Part]:
    """Leaves out each part without which the graph passes too, smallest share of the error first."""
    kept = list(parts)
    for part in reversed(parts):
        without = [other for other in kept if other is not part]
        try:
            if runs(_union(held, without), f"without {part.name}").passed:
                kept = without
        except OutOfRuns:
            break
    return kept


def _split(name: str, nodes: Collection[str], owners: Mapping[str, str]) -> dict[str, frozenset[str]]:
    """The submodules directly below `name` that own some of `nodes`, and its own operations; where there is
    only one submodule, what is in it. {} for a module that has only operations of its own."""
    if name == OWN or name.endswith("/" + OWN):
        return {}
    depth = len(name.split("/")) if name else 0
    found: dict[str, set[str]] = {}
    for node in owners:  # in the order of the graph
        if node in nodes:
            path = owners[node].split("/") if owners[node] else []
            key = "/".join(path[: depth + 1]) if len(path) > depth else f"{name}/{OWN}" if name else OWN
            found.setdefault(key, set()).add(node)
    if len(found) == 1:
        only = next(iter(found))
        return _split(only, found[only], owners) or ({only: frozenset(found[only])} if not name else {})
    return {key: frozenset(part) for key, part in found.items()}


def _by_error(parts: list[Part]) -> list[Part]:
    return sorted(parts, key=lambda part: -_square(part))


def _square(part: Part) -> float:
    return min(part.error, HUGE) ** 2 if math.isfinite(part.error) else HUGE**2


def _needed(ranked: list[Part], target: float) -> int:
    """How many of `ranked`, at least 1, must stay float32 for the rest's squares to sum to the target's."""
    left = 0.0
    for count in range(len(ranked), 0, -1):
        left += _square(ranked[count - 1])
        if left > target**2:
            return count
    return min(1, len(ranked))


def _concentrated(parts: list[Part]) -> bool:
    """Whether a smaller share of the nodes makes most of the error."""
    total = sum(map(_square, parts))
    everything = sum(len(part.nodes) for part in parts)
    error, nodes = 0.0, 0
    for part in _by_error(parts):
        error, nodes = error + _square(part), nodes + len(part.nodes)
        if error >= MOST_ERROR * total:
            break
    return nodes <= SMALL_PART * everything


def _union(held: frozenset[str], parts: list[Part]) -> frozenset[str]:
    return held.union(*(part.nodes for part in parts))
