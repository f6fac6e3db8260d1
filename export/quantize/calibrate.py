"""From the magnitudes of a tensor to the largest one that int8 shall represent; what is above is clipped.

* `minmax`: the largest seen: nothing is clipped.
* `percentile`: the magnitude that 99.99 % of the non-zero values do not exceed.
* `entropy`: the magnitude at which the int8 values tell most about the original ones: the least
  Kullback-Leibler divergence of the clipped distribution from its rounded form (Migacz, "8-bit inference
  with TensorRT", GTC 2017).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Int

from export.quantize.magnitudes import Magnitudes
from export.quantize.names import CALIBRATORS

#: Magnitudes that int8 has: 0 to 127.
LEVELS = 128
#: Per cent of the non-zero values that `percentile` keeps.
PERCENTILE = 99.99
#: Thresholds that `entropy` tries are this many bins apart: a 512th of the range.
STRIDE = 4
#: Values that a rounded distribution expects in a bin where it has none. With 0 the divergence would be
#: infinite, and an outlier behind a gap could never be clipped.
UNEXPECTED = 1e-4


def minmax(found: Magnitudes) -> float:
    return found.largest


def percentile(found: Magnitudes, share: float = PERCENTILE) -> float:
    """The upper edge of the first bin up to which `share` per cent of the non-zero values lie.

    Raises:
      ValueError: `share` is not above 0 and at most 100.
    """
    if not 0 < share <= 100:
        raise ValueError(f"percentile {share:g}: above 0 and at most 100 is accepted")
    total = int(found.counts.sum())
    if not total:
        return 0.0
    reached = np.cumsum(found.counts) >= share / 100 * total
    return min((int(np.argmax(reached)) + 1) * found.width, found.largest)


def entropy(found: Magnitudes, levels: int = LEVELS, stride: int = STRIDE) -> float:
    """The threshold of least divergence; the larger one where two are equal."""
    used = int(np.flatnonzero(found.counts)[-1]) + 1 if found.counts.any() else 0
    if not used:
        return 0.0
    candidates = range(used, min(levels, used) - 1, -stride)
    divergences = [divergence(found.counts[:used], edge, levels) for edge in candidates]
    edge = candidates[int(np.argmin(divergences))]
    return min(edge * found.width, found.largest)


def divergence(counts: Int[np.ndarray, " bins"], edge: int, levels: int = LEVELS) -> float:
    """Kullback-Leibler divergence, in nats, of the values clipped at bin `edge` from their rounded form.

    The clipped distribution has everything beyond `edge` in its last bin. The rounded form knows only the
    sum of each of `levels` groups of bins, spread evenly over those of them that are not empty, and does
    not know what was clipped. Where values are clipped into a bin that was empty, it expects `UNEXPECTED`.
    """
    inside = counts[:edge].astype(np.float64)
    clipped = inside.copy()
    clipped[-1] += counts[edge:].sum()
    groups = min(levels, edge)
    starts = -(-np.arange(groups) * edge // groups)  # rounded up: bin j belongs to group j * groups // edge
    filled = np.add.reduceat((inside > 0).astype(np.float64), starts)
    sums = np.add.reduceat(inside, starts)
    mean = np.divide(sums, filled, out=np.zeros_like(sums), where=filled > 0)
    rounded = np.where(inside > 0, np.repeat(mean, np.diff(np.append(starts, edge))), 0.0)
    some = clipped > 0
    expected = np.where(rounded[some] > 0, rounded[some], UNEXPECTED)
    p, q = clipped[some] / clipped.sum(), expected / expected.sum()
    return float((p * np.log(p / q)).sum())


FUNCTIONS: dict[str, Callable[[Magnitudes], float]] = {
    "entropy": entropy,
    "percentile": percentile,
    "minmax": minmax,
}
assert tuple(FUNCTIONS) == CALIBRATORS["int8"]
