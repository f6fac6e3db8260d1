"""Computational density, the measure of TRT-ViT (arXiv 2205.09579): work done in a second of latency.

TeraFLOPS are FLOPs over latency and TeraParams parameters over latency, both in 10^12 a second. FLOPs are two
for each multiply-add of convolutions and matrix products, of all images of a call, as in all tables; the
parameters are those of the deploy form, and count once however many images a call has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from export.lab.claim import Claim
from export.lab.heat import Heat
from export.lab.record import Record
from export.lab.verdict import CANNOT_TELL, WORTH, Verdict

FLOPS, PARAMS = "TeraFLOPS", "TeraParams"
TERA = 1e12
#: Two densities or latencies that the study calls the same may differ by this much: more than the 3 % that a
#: latency budget is met within here, and far below the differences that the study is about.
MARGIN = 0.05
DENSER, SPARSER = "denser", "less dense"
REACHES, FALLS_SHORT = "reaches it", "falls short"
ALIKE, DIFFERENT = "the same", "different"


@dataclass(frozen=True)
class Estimate:
    """10^12 a second, with the 95 % interval that that of the latency gives."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3g} ({self.low:.3g} to {self.high:.3g})"

    @property
    def errors(self) -> tuple[float, float]:
        """Lengths of the two error bars, which rounding must not make negative."""
        return max(0.0, self.value - self.low), max(0.0, self.high - self.value)


def work(record: Record, metric: str) -> int:
    """FLOPs, or parameters, of one call."""
    if metric == FLOPS:
        return 2 * int(record.subject["macs"]) * int(record.setting["batch"])
    return int(record.subject["params"])


def density(record: Record, metric: str) -> Estimate:
    summary, done = record.summary(), work(record, metric)
    value, low, high = (done / (ms / 1e3) / TERA for ms in (summary.typical, summary.high, summary.low))
    return Estimate(value, low, high)


def against(heat: Heat, a: str, b: str, metric: str) -> Verdict:
    """Density of `a` over that of `b`: the inverse ratio of their times, times that of their work."""
    share = work(heat[a], metric) / work(heat[b], metric)
    times = heat.against(b, a)
    return _worded(share * times.ratio, share * times.low, share * times.high)


def change(heat: Heat, first: tuple[str, str], then: tuple[str, str], metric: str) -> Verdict:
    """How much larger the density of `then[0]` over `then[1]` is than that of `first[0]` over `first[1]`.

    The interval joins the far ends of both, which is wider than 95 % where their errors are independent.
    """
    before, after = against(heat, *first, metric), against(heat, *then, metric)
    return _worded(after.ratio / before.ratio, after.low / before.high, after.high / before.low)


def alike(verdict: Verdict, margin: float = MARGIN) -> Verdict:
    """Whether a ratio is 1 within the margin: ALIKE, DIFFERENT or cannot tell."""
    least, most = 1 / (1 + margin), 1 + margin
    if least <= verdict.low and verdict.high <= most:
        word = ALIKE
    else:
        word = DIFFERENT if verdict.high < least or verdict.low > most else CANNOT_TELL
    return Verdict(verdict.ratio, verdict.low, verdict.high, word)


def reaches(verdict: Verdict, margin: float = MARGIN) -> Verdict:
    """Whether a ratio is at least 1 less the margin: REACHES, FALLS_SHORT or cannot tell."""
    least = 1 / (1 + margin)
    word = REACHES if verdict.low >= least else FALLS_SHORT if verdict.high < least else CANNOT_TELL
    return Verdict(verdict.ratio, verdict.low, verdict.high, word)


def denser(text: str, source: str, a: str, b: str, metric: str) -> Claim:
    """The claim that `a` is denser than `b`."""
    return _claim(text + _ratio_of(metric), source, a, b, DENSER, lambda heat: against(heat, a, b, metric))


def as_dense(text: str, source: str, a: str, b: str, metric: str) -> Claim:
    """The claim that their densities are the same within MARGIN."""
    within = _within_margin(metric)
    return _claim(text + within, source, a, b, ALIKE, lambda heat: alike(against(heat, a, b, metric)))


def at_least_as_dense(text: str, source: str, a: str, b: str, metric: str) -> Claim:
    """The claim that the density of `a` is that of `b` or above, less MARGIN."""
    within = _within_margin(metric)
    return _claim(text + within, source, a, b, REACHES, lambda heat: reaches(against(heat, a, b, metric)))


def as_fast(text: str, source: str, a: str, b: str) -> Claim:
    """The claim that their latencies are the same within MARGIN."""
    within = _within_margin("latencies")
    return _claim(text + within, source, a, b, ALIKE, lambda heat: alike(heat.against(a, b)))


def closer(text: str, source: str, first: tuple[str, str], then: tuple[str, str], metric: str) -> Claim:
    """The claim that `then[0]` stands better against `then[1]` than `first[0]` does against `first[1]`."""
    text += _ratio_of(f"{metric} ratios")
    return _claim(text, source, then[0], then[1], DENSER, lambda heat: change(heat, first, then, metric))


def columns(record: Record) -> dict[str, str]:
    """Both densities with their intervals, for a row of the study's table."""
    return {metric: str(density(record, metric)) for metric in (FLOPS, PARAMS)}


def _ratio_of(what: str) -> str:
    """For the end of a claim, since a reader expects a ratio of times."""
    return f"; ratio of {what}"


def _within_margin(what: str) -> str:
    return f", within {MARGIN:.0%}{_ratio_of(what)}"


def _claim(text: str, source: str, a: str, b: str, word: str, within: Callable[[Heat], Verdict]) -> Claim:
    return Claim(text, source, a, b, word=word, within=within)


def _worded(ratio: float, low: float, high: float) -> Verdict:
    """With the word that a ratio of densities is worth, by the rule that the lab has for times."""
    if low > 1 and ratio > 1 + WORTH:
        return Verdict(ratio, low, high, DENSER)
    if high < 1 and ratio < 1 - WORTH:
        return Verdict(ratio, low, high, SPARSER)
    return Verdict(ratio, low, high, CANNOT_TELL)
