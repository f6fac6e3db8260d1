"""What samples say: a typical time with its interval, and whether one is faster than another.

The statistics are explained in docs/latency_lab.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from export.lab.rounds import FEWEST_OPENINGS, Sample
from export.latency import percentile

RESAMPLES, CONFIDENCE = 2000, 0.95
#: Rounds are drawn in runs of this many neighbours: what disturbs one call often disturbs the next.
BLOCK = 4
#: Undisturbed rounds, in all and of each opening, without which all count, by their lower quartile: what
#: disturbs a call only ever makes it longer.
FEWEST_CLEAN, FEWEST_CLEAN_OF_OPENING = 10, 2
QUIET = 0.25
#: The smallest difference worth a word: less matters to nobody, and another build may well make it.
WORTH = 0.01
FASTER, SLOWER, CANNOT_TELL = "faster", "slower", "cannot tell"
#: With so many openings or more, the fastest and the slowest are left out of the mean: a neighbour on the
#: machine may spoil one of them.
FEWEST_TRIMMED, TRIMMED = 6, 1
#: A mean of so few drawn values has shorter tails than the normal distribution; by simulation, intervals that
#: are wider by this hold the truth in 94 to 95 % of the cases.
TAILS = 1.06
#: Two-sided 95 % quantile of Student's t by degrees of freedom, over that of the normal distribution: what an
#: interval from so few openings lacks.
_NORMAL = 1.95996
_STUDENT = {3: 3.18245, 4: 2.77645, 5: 2.57058, 6: 2.44691, 7: 2.36462}


@dataclass(frozen=True)
class Summary:
    """Milliseconds of one call. `low` to `high`: 95 % interval of `typical`. `clean`: calls in which the
    system took a processor away are left out, and `typical` is the (trimmed) mean over the openings of their
    medians; else too few remained, and it is the mean of the lower quartiles of all. `calls`: those that
    count; `minimum`, `median` and the percentiles are of all."""

    calls: int
    clean: bool
    typical: float
    low: float
    high: float
    minimum: float
    median: float
    p90: float
    p95: float
    p99: float

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True)
class Verdict:
    """Of a against b: `ratio` of their times with its 95 % interval, and `word`: a is ..."""

    ratio: float
    low: float
    high: float
    word: str

    def as_dict(self) -> dict[str, object]:
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.ratio:.3f} [{self.low:.3f}, {self.high:.3f}], {self.word}"


def summarise(samples: Sequence[Sample]) -> Summary:
    """Raises ValueError without samples."""
    if not samples:
        raise ValueError("no samples: nothing was measured")
    every = np.array([sample.ms for sample in samples])
    kept, openings, quantile = _kept(every[:, None], [sample.disturbed for sample in samples], samples)
    typical, low, high = _estimate(kept, openings, quantile, lambda logs: logs[..., 0])
    return Summary(
        calls=len(kept),
        clean=quantile != QUIET,
        typical=typical,
        low=low,
        high=high,
        minimum=float(every.min()),
        median=float(np.median(every)),
        p90=percentile(every.tolist(), 0.90),
        p95=percentile(every.tolist(), 0.95),
        p99=percentile(every.tolist(), 0.99),
    )


def compare(a: Sequence[Sample], b: Sequence[Sample]) -> Verdict:
    """Samples of the same rounds, drawn by rounds: what slowed both cancels.

    Raises:
      ValueError: they are not of the same rounds, or there are none.
    """
    if not a or [x.opening for x in a] != [y.opening for y in b]:
        raise ValueError(f"{len(a)} samples against {len(b)}: they are not of the same rounds")
    every = np.array([[x.ms, y.ms] for x, y in zip(a, b, strict=True)])
    disturbed = [x.disturbed or y.disturbed for x, y in zip(a, b, strict=True)]
    return verdict(*_estimate(*_kept(every, disturbed, a), lambda logs: logs[..., 0] - logs[..., 1]))


def verdict(ratio: float, low: float, high: float) -> Verdict:
    """The word that a ratio with its interval is worth."""
    if high < 1 and ratio < 1 - WORTH:
        return Verdict(ratio, low, high, FASTER)
    if low > 1 and ratio > 1 + WORTH:
        return Verdict(ratio, low, high, SLOWER)
    return Verdict(ratio, low, high, CANNOT_TELL)


def chain(a: Verdict, b: Verdict) -> Verdict:
    """Of two ratios to one reference, from different heats: a over b. Errors of different heats are
    independent."""
    low = math.hypot(math.log(a.ratio / a.low), math.log(b.high / b.ratio))
    high = math.hypot(math.log(a.high / a.ratio), math.log(b.ratio / b.low))
    ratio = a.ratio / b.ratio
    return verdict(ratio, ratio * math.exp(-low), ratio * math.exp(high))


def decided(a: Sequence[Sample], b: Sequence[Sample], tight: float) -> bool:
    """Whether more rounds would say nothing new: half the interval is below `tight`, or the difference is far
    from nothing (three half intervals: looking again and again must not make a chance difference a verdict)
    and half the interval below twice `tight`."""
    found = compare(a, b)
    half = math.log(found.high / found.low) / 2
    return half <= tight or (half <= 2 * tight and abs(math.log(found.ratio)) > 3 * half)


def _kept(
    every: np.ndarray, disturbed: Sequence[bool], samples: Sequence[Sample]
) -> tuple[np.ndarray, np.ndarray, float]:
    """(rounds, sides) -> the rounds that count, the opening of each, and the quantile that stands for
    them."""
    openings = np.array([sample.opening for sample in samples])
    clean = ~np.array(disturbed)
    enough = clean.sum() >= FEWEST_CLEAN and all(
        clean[openings == one].sum() >= FEWEST_CLEAN_OF_OPENING for one in np.unique(openings)
    )
    return (every[clean], openings[clean], 0.5) if enough else (every, openings, QUIET)


def _estimate(
    kept: np.ndarray,
    openings: np.ndarray,
    quantile: float,
    of: Callable[[np.ndarray], np.ndarray],
) -> tuple[float, float, float]:
    """(rounds, sides) -> a value and its interval; `of` makes its logarithm of those of the sides' times."""
    rng = np.random.default_rng(0)
    each = np.unique(openings)
    count = len(each)
    if count < FEWEST_OPENINGS:
        middle = float(of(np.log(np.quantile(kept, quantile, axis=0))))
        drawn = of(np.log(np.quantile(kept[_blocks(len(kept), rng)], quantile, axis=1)))
        few = math.sqrt(len(kept) / max(1, len(kept) - BLOCK))
    else:
        levels = np.sort(of(np.log([np.quantile(kept[openings == one], quantile, axis=0) for one in each])))
        trimmed = TRIMMED if count >= FEWEST_TRIMMED else 0
        inner = levels[trimmed : count - trimmed]
        middle = float(inner.mean())
        # Yuen's interval of a trimmed mean: the outermost take the values of their neighbours
        winsorized = np.clip(levels, inner[0], inner[-1])
        drawn = winsorized[rng.integers(count, size=(RESAMPLES, count))].mean(axis=1)
        drawn += middle - winsorized.mean()
        few = TAILS * _STUDENT[len(inner) - 1] / _NORMAL * math.sqrt(count / (count - 1)) * count / len(inner)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.exp(np.quantile(middle + few * (drawn - middle), [tail, 1 - tail]))
    return math.exp(middle), float(low), float(high)


def _blocks(count: int, rng: np.random.Generator) -> np.ndarray:
    """(RESAMPLES, count) places, in runs of BLOCK neighbours (a moving block bootstrap)."""
    block = min(BLOCK, count)
    starts = rng.integers(count - block + 1, size=(RESAMPLES, -(-count // block)))
    return (starts[:, :, None] + np.arange(block)).reshape(RESAMPLES, -1)[:, :count]
