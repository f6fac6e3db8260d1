"""The search of one candidate, from knob to knob, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from export.lab.calibrate_knobs import HIGHEST, LOWEST, Ladder, ladder
from export.lab.calibrate_search import FOUND, MOST_PROBES, OUT_OF_PROBES, OUT_OF_RANGE, TOO_COARSE, search
from export.lab.subject import Subject, check_one_answer, network
from hvjax.registry import create_model

#: Short heats may be wrong by this much: where nothing better is left, what they found so near is measured
#: in a long one.
DOUBT = 0.08


@dataclass(frozen=True)
class Candidate:
    """A registry model, some config fields of which are given.

    Attributes:
      name: in records and tables.
      model: registry name.
      overrides: config fields.
      image_size: the model's own by default.
    """

    name: str
    model: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    image_size: int | tuple[int, int] | None = None

    def config(self, more: Mapping[str, Any] | None = None) -> Any:
        """Raises ValueError for no such model, and for fields that it does not have or that do not fit
        together."""
        check_one_answer(self.model)
        return create_model(self.model, **{**self.overrides, **(more or {})}).config

    def subject(self, more: Mapping[str, Any] | None = None) -> Subject:
        fields = {**self.overrides, **(more or {})}
        return network(self.model, name=self.name, image_size=self.image_size, **fields)


@dataclass(frozen=True)
class Probe:
    """One network that was tried: `knob` at `factor` gave `ratio`."""

    knob: str
    factor: float
    ratio: float


class Climb:
    """
    Args:
      knobs: the first is turned as near to the budget as it goes, the next does the rest.
      known: latency over budget of the candidate as it is, if that was measured already.
      low, high: factors of each knob.

    Raises:
      ValueError: a knob that the candidate does not have.
    """

    def __init__(
        self,
        candidate: Candidate,
        knobs: Sequence[str],
        known: float | None = None,
        low: float = LOWEST,
        high: float = HIGHEST,
    ):
        if not knobs:
            raise ValueError("no knob: expected width, depth, mlp or a config field")
        self.candidate, self.probes = candidate, list[Probe]()
        self._knobs, self._limits = list(knobs), (low, high)
        self._settled: dict[str, Any] = {}
        self._factors: dict[str, float] = {}
        self._made: dict[str, Subject] = {}
        self._end = ""
        for knob in knobs:  # one that is not there is a mistake now, not after an hour
            ladder(candidate.config(), knob, low, high)
        self._turn(known)

    def _turn(self, known: float | None) -> None:
        """To the next knob."""
        self._ladder = ladder(self.candidate.config(self._settled), self._knobs.pop(0), *self._limits)
        self._place = self._ladder.start
        self._ratios: dict[int, float] = {} if known is None else {self._place: known}
        self._confirmed: set[int] = set()
        self._left = MOST_PROBES

    def search(self, measure: Callable[[Subject], float], aim: float) -> None:
        """Measures (subject -> latency over budget) until the budget is met within `aim` or all knobs are
        turned."""

        def probe(place: int) -> float:
            rung = self._ladder.rungs[place]
            turned = {**self._factors, self._ladder.knob: rung.factor}
            name = ", ".join(
                [self.candidate.name, *(f"{knob} {factor:g}" for knob, factor in turned.items())]
            )
            ratio = measure(replace(self._subject(rung.overrides), name=name))
            self.probes.append(Probe(self._ladder.knob, rung.factor, ratio))
            self._ratios[place] = ratio
            self._left -= 1
            return ratio

        while True:
            found = search(self._ladder, probe, aim, self._ratios, self._left)
            self._place, self._end = found.place, found.end
            if found.end == FOUND:
                return
            if not self._knobs:
                self._place = self._doubtful() if found.place in self._confirmed else found.place
                return
            rung = self._ladder.rungs[found.place]
            self._settled |= rung.overrides
            self._factors[self._ladder.knob] = rung.factor
            self._turn(found.ratio)

    def _doubtful(self) -> int:
        """The best place that only short heats were asked about; the one of before if none is near."""
        near = {
            place: abs(ratio - 1)
            for place, ratio in self._ratios.items()
            if place not in self._confirmed and abs(ratio - 1) <= DOUBT
        }
        return min(near, key=lambda place: near[place]) if near else self._place

    def correct(self, ratio: float) -> None:
        """A longer heat gave this ratio for what was found."""
        self._ratios[self._place] = ratio
        self._confirmed.add(self._place)

    @property
    def overrides(self) -> dict[str, Any]:
        """Config fields of what was found by which it differs from the candidate."""
        return {**self._settled, **self._ladder.rungs[self._place].overrides}

    @property
    def factors(self) -> dict[str, float]:
        """By knob."""
        return {**self._factors, self._ladder.knob: self._ladder.rungs[self._place].factor}

    @property
    def subject(self) -> Subject:
        """What was found."""
        return self._subject(self._ladder.rungs[self._place].overrides)

    def _subject(self, overrides: Mapping[str, Any]) -> Subject:
        more = {**self._settled, **overrides}
        return self._made.setdefault(repr(more), self.candidate.subject(more))

    def why(self) -> str:
        """How the search ended, in words, where it did not meet the budget."""
        return _why(self._ladder, self._place, self._end)


def _why(used: Ladder, place: int, end: str) -> str:
    knob, factor = used.knob, used.rungs[place].factor
    if end == OUT_OF_RANGE:
        return f"{knob} {factor:g} is the {'smallest' if place == 0 else 'largest'} that is allowed"
    if end == TOO_COARSE:
        return f"the steps of {knob} are too coarse, a second and finer knob may do"
    if end == OUT_OF_PROBES:
        return f"no better {knob} in {MOST_PROBES} probes"
    return "short and long heats disagree, the machine is not quiet enough"
