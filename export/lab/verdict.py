"""What samples say: a median with its interval, and whether one is faster than another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from export.lab.rounds import Sample
from export.latency import percentile

RESAMPLES, CONFIDENCE = 2000, 0.95
#: Rounds are drawn in runs of this many neighbours: what disturbs one call often disturbs the next.
BLOCK = 4
#: Undisturbed calls of each side without which all calls count, by their lower quartile.
FEWEST_CLEAN = 10
QUIET = 0.25
FASTER, SLOWER, CANNOT_TELL = "faster", "slower", "cannot tell"


@dataclass(frozen=True)
class Summary:
    """Milliseconds of one call. `low` to `high`: 95 % interval of the median. `clean`: calls in which the system
    took a processor away are left out; else too few remained, and `typical` is the lower quartile of all."""

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
    kept, quantile, clean = _kept(samples)
    drawn = np.quantile(kept[_draws(len(kept))], quantile, axis=1)
    low, high = _interval(drawn)
    every = [sample.ms for sample in samples]
    return Summary(
        calls=len(kept),
        clean=clean,
        typical=float(np.quantile(kept, quantile)),
        low=low,
        high=high,
        minimum=min(every),
        median=float(np.median(every)),
        p90=percentile(every, 0.90),
        p95=percentile(every, 0.95),
        p99=percentile(every, 0.99),
    )


def compare(a: Sequence[Sample], b: Sequence[Sample]) -> Verdict:
    """Samples of the same rounds, drawn by rounds: what slowed both cancels."""
    if len(a) != len(b):
        raise ValueError(f"{len(a)} samples against {len(b)}: they are not of the same rounds")
    clean = [(x.ms, y.ms) for x, y in zip(a, b, strict=True) if not x.disturbed and not y.disturbed]
    quantile = 0.5 if len(clean) >= FEWEST_CLEAN else QUIET
    pairs = np.array(clean if quantile == 0.5 else [(x.ms, y.ms) for x, y in zip(a, b, strict=True)])
    drawn = np.quantile(pairs[_draws(len(pairs))], quantile, axis=1)
    low, high = _interval(drawn[:, 0] / drawn[:, 1])
    first, second = np.quantile(pairs, quantile, axis=0)
    word = FASTER if high < 1 else SLOWER if low > 1 else CANNOT_TELL
    return Verdict(float(first / second), low, high, word)


def _kept(samples: Sequence[Sample]) -> tuple[np.ndarray, float, bool]:
    clean = [sample.ms for sample in samples if not sample.disturbed]
    if len(clean) >= FEWEST_CLEAN:
        return np.array(clean), 0.5, True
    return np.array([sample.ms for sample in samples]), QUIET, False


def _draws(count: int) -> np.ndarray:
    """(RESAMPLES, count) places, in runs of BLOCK neighbours (a moving block bootstrap)."""
    block = min(BLOCK, count)
    rng = np.random.default_rng(0)
    starts = rng.integers(count - block + 1, size=(RESAMPLES, -(-count // block)))
    return (starts[:, :, None] + np.arange(block)).reshape(RESAMPLES, -1)[:, :count]


def _interval(drawn: np.ndarray) -> tuple[float, float]:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return float(low), float(high)
