"""Networks of equal latency: finds the width or depth with which a registry model meets a latency budget.

The machine drifts, so the budget is best another network that is measured in the same heat: equal latency is
  a ratio of 1. A probe is a short heat of candidate and reference; the network that is found is confirmed by
  a heat of its own, as long as those of any study. Every heat is in a store, probes in calibrate.jsonl beside
  that of the study, and what is there is not measured again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from export.lab.bar import Bar
from export.lab.calibrate_climb import Candidate, Climb, Probe
from export.lab.calibrate_keep import Keeping
from export.lab.calibrate_knobs import HIGHEST, LOWEST
from export.lab.heat import Heat, Lab
from export.lab.runtimes import Runtime
from export.lab.setting import Setting
from export.lab.store import Store
from export.lab.subject import Subject
from export.runtimes import BuildError

__all__ = [
    "Calibrated",
    "Calibrator",
    "Candidate",
    "Climb",
    "Level",
    "OutOfReach",
    "Ratio",
    "calibrate",
    "level",
]

STUDY = "calibrate"
#: Equal latency: the ratio to the budget is 1 within this.
TOLERANCE = 0.03
#: A probe that is off by this share of the tolerance is good enough: the rest is room for its noise.
AIM = 2 / 3
#: Probes get this share of the seconds of a heat.
PROBE = 0.3
#: A probe whose interval is wider than this times the tolerance is repeated in a long heat.
NOISY = 2.0
#: Confirming heats: after each that fails the search goes on with what it said.
MOST_CONFIRMATIONS = 3


class OutOfReach(ValueError):
    """The budget cannot be met; the message says how near one gets, and why not nearer."""


@dataclass(frozen=True)
class Ratio:
    """Latency over budget, with its 95 % interval."""

    value: float
    low: float
    high: float

    def within(self, tolerance: float) -> bool:
        return abs(self.value - 1) <= tolerance

    @property
    def width(self) -> float:
        """Of the interval, relative."""
        return (self.high - self.low) / self.value

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Calibrated:
    """A network found by its latency.

    Attributes:
      subject: the network.
      overrides: config fields by which it differs from the candidate.
      factors: by knob.
      ratio: to the budget, in the confirming heat `heat`.
      met: whether that is 1 within the tolerance.
      why: why it could not be met; empty where it is.
      probes: all that was tried for it.
    """

    subject: Subject
    overrides: Mapping[str, Any]
    factors: Mapping[str, float]
    ratio: Ratio
    heat: Heat
    met: bool
    why: str
    probes: tuple[Probe, ...]


@dataclass(frozen=True)
class Level:
    """Several candidates brought to the latency of one reference.

    Attributes:
      before, after: heats of the reference and the candidates as they are, and as they were found; `after`
        is None where nothing could be searched.
      found: by name of the candidate.
    """

    before: Heat
    after: Heat | None
    found: Mapping[str, Calibrated]


class Calibrator:
    """Measures against one budget on one runtime in one setting.

    Args:
      lab: its store is where heats are looked for and kept; its seconds are those of a confirming heat.
      runtime: best one that keeps what it prepared (`calibrate_keep.Keeping`): the reference is in all heats.
      budget: milliseconds, or the network whose latency is wanted.
      tolerance: 0.03 for 3 %.

    Raises:
      ValueError: numbers out of range.
    """

    def __init__(
        self,
        lab: Lab,
        runtime: Runtime,
        setting: Setting,
        bar: Bar,
        budget: float | Subject,
        tolerance: float = TOLERANCE,
    ):
        if not isinstance(budget, Subject) and not budget > 0:
            raise ValueError(f"budget={budget}: expected milliseconds above 0")
        if not 0 < tolerance < 1:
            raise ValueError(f"tolerance={tolerance}: expected a number between 0 and 1, 0.03 for 3 %")
        self.budget, self.tolerance = budget, tolerance
        self._lab, self._runtime, self._setting, self._bar = lab, runtime, setting, bar
        beside = lab.store if lab.study == STUDY else Store(lab.store.path.with_name(f"{STUDY}.jsonl"))
        self._short, self._long = (
            Lab(
                STUDY,
                beside,
                share * lab.seconds,
                small=lab.small,
                anywhere=lab.anywhere,
                retry=lab.retry,
                program=lab.program,
            )
            for share in (PROBE, 1.0)
        )

    def measure(self, subjects: Sequence[Subject], lab: Lab | None = None) -> Heat:
        """All of them in turns, with the reference if there is one."""
        every = [*self._reference, *subjects]
        return (lab or self._lab).heat(every, self._runtime, self._setting, self._bar)

    def ratio(self, heat: Heat, name: str) -> Ratio:
        """Raises BuildError if it was not measured."""
        for wanted in (name, *(one.name for one in self._reference)):
            if wanted not in heat:
                raise BuildError(f"{wanted}: {heat.missing.get(wanted, 'not measured')}")
        if isinstance(self.budget, Subject):
            verdict = heat.against(name, self.budget.name)
            return Ratio(verdict.ratio, verdict.low, verdict.high)
        summary = heat[name].summary()
        return Ratio(summary.typical / self.budget, summary.low / self.budget, summary.high / self.budget)

    def probe(self, subject: Subject) -> float:
        """Latency over budget, in a short heat, or in a long one if that says too little.

        Raises:
          BuildError: it was not measured.
        """
        self._bar.expect(1 + len(self._reference))
        ratio = self.ratio(self.measure([subject], self._short), subject.name)
        if ratio.width > NOISY * self.tolerance:
            again = replace(subject, name=f"{subject.name}, again")
            self._bar.expect(1 + len(self._reference))
            ratio = self.ratio(self.measure([again], self._long), again.name)
        return ratio.value

    def confirm(self, climbs: Sequence[Climb], failed: dict[str, str] | None = None) -> dict[str, Calibrated]:
        """Searches for each, and measures all that was found in one long heat, until it holds or nothing
        better is left; by name of the candidate.

        Args:
          failed: is told which candidates do not build at some width, and why; the others are searched.

        Raises:
          BuildError: one does not build, and there is no `failed`; or the reference does not.
        """
        climbs, found = list(climbs), dict[str, Calibrated]()
        chosen: list[dict[str, Any]] = []
        for _ in range(MOST_CONFIRMATIONS):
            for climb in list(climbs):
                try:
                    climb.search(self.probe, AIM * self.tolerance)
                except BuildError as error:
                    if failed is None:
                        raise
                    failed[climb.candidate.name] = str(error)
                    climbs.remove(climb)
                self._close_others(climbs)
            if not climbs or [climb.overrides for climb in climbs] == chosen:
                break
            chosen = [climb.overrides for climb in climbs]
            self._bar.expect(len(climbs) + len(self._reference))
            heat = self.measure([climb.subject for climb in climbs])
            if failed is not None:
                failed.update(heat.missing)
                climbs = [climb for climb in climbs if climb.candidate.name in heat]
                chosen = [climb.overrides for climb in climbs]
            found = {climb.candidate.name: self._calibrated(climb, heat) for climb in climbs}
            off = [climb for climb in climbs if not found[climb.candidate.name].met]
            if not off:
                break
            for climb in off:
                climb.correct(found[climb.candidate.name].ratio.value)
        return found

    def _calibrated(self, climb: Climb, heat: Heat) -> Calibrated:
        ratio = self.ratio(heat, climb.candidate.name)
        met = ratio.within(self.tolerance)
        return Calibrated(
            subject=climb.subject,
            overrides=climb.overrides,
            factors=climb.factors,
            ratio=ratio,
            heat=heat,
            met=met,
            why="" if met else _why(ratio, self.tolerance) or climb.why(),
            probes=tuple(climb.probes),
        )

    def _close_others(self, climbs: Sequence[Climb]) -> None:
        """What was tried and not chosen need not stay in memory."""
        if isinstance(self._runtime, Keeping):
            self._runtime.keep([*self._reference, *(climb.subject for climb in climbs)], self._setting)

    @property
    def _reference(self) -> list[Subject]:
        return [self.budget] if isinstance(self.budget, Subject) else []


def _why(ratio: Ratio, tolerance: float) -> str:
    if ratio.width > NOISY * tolerance:
        return "the interval is wider than that, as the machine is not quiet enough"
    return ""


def level(calibrator: Calibrator, candidates: Sequence[Candidate], knobs: Sequence[str]) -> Level:
    """Measures candidates as they are, then brings each to the calibrator's budget. Candidates that do not
    build are in `before.missing`; those that cannot meet the budget are in `after` as near as they get."""
    before = calibrator.measure([candidate.subject() for candidate in candidates])
    failed: dict[str, str] = {}
    found: dict[str, Calibrated] = {}
    try:
        known = {
            one.name: calibrator.ratio(before, one.name).value for one in candidates if one.name in before
        }
        climbs = [Climb(one, knobs, known[one.name]) for one in candidates if one.name in known]
        found = calibrator.confirm(climbs, failed)
    except BuildError as error:  # of the reference
        failed["equal latency"] = str(error)
    before.missing.update(failed)
    return Level(before, next((one.heat for one in found.values()), None), found)


def calibrate(
    candidate: Candidate,
    budget: float | Subject,
    *,
    lab: Lab,
    runtime: Runtime,
    setting: Setting,
    bar: Bar,
    knobs: Sequence[str] = ("width",),
    tolerance: float = TOLERANCE,
    low: float = LOWEST,
    high: float = HIGHEST,
) -> Calibrated:
    """The network of a family that takes as long as the budget.

    Args:
      candidate: what to change, and what of it is fixed.
      budget: milliseconds, or a subject measured in turns with each network that is tried.
      knobs: "width", "depth", "mlp" or config fields; each does what the ones before it are too coarse for.
      low, high: factors of a knob.

    Raises:
      OutOfReach: no network of the ladder meets the budget.
      ValueError: no such model, field or knob, or numbers out of range.
      BuildError: a network does not build.
    """
    calibrator = Calibrator(lab, runtime, setting, bar, budget, tolerance)
    found = calibrator.confirm([Climb(candidate, knobs, low=low, high=high)])[candidate.name]
    if not found.met:
        turned = ", ".join(f"{knob} {factor:g}" for knob, factor in found.factors.items())
        raise OutOfReach(
            f"{candidate.name}: nothing within {100 * tolerance:g} % of the budget: {found.why}; nearest is "
            f"{turned} at {found.ratio} of the budget, after {len(found.probes)} probes"
        )
    return found
