"""A histogram of magnitudes that grows with what it is shown: the memory of a calibration.

One pass over the images is enough: when a value beyond the last bin appears, neighbouring bins are merged
and the range doubles, so at least half of the bins are in use at any time.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

#: Bins unless told otherwise: 16 for each of the 128 magnitudes of int8 where nothing is cut off.
BINS = 2048


class Magnitudes:
    """Counts of |x| in `bins` equal bins from 0 to `limit`. Exact zeros are counted apart (`zeros`): every
    scale represents them, so they must not draw the range to themselves.

    Args:
      bins: even number of bins.
    """

    def __init__(self, bins: int = BINS) -> None:
        if bins < 2 or bins % 2:
            raise ValueError(f"{bins} bins: an even number is needed, so that neighbours can be merged")
        self.counts = np.zeros(bins, np.int64)
        self.limit = 0.0
        self.largest = 0.0
        self.zeros = 0

    def add(self, values: Float[np.ndarray, "..."]) -> None:
        """Counts every element. Raises ValueError for NaN or infinity: no scale would fit them."""
        found = np.abs(values, dtype=np.float32).ravel()
        top = float(found.max(initial=0.0))
        if not np.isfinite(top):
            raise ValueError("NaN or infinity among the activations")
        if top == 0.0:
            self.zeros += found.size
            return
        self.largest = max(self.largest, top)
        self._reach(top)
        bins = len(self.counts)
        places = np.minimum((found * (bins / self.limit)).astype(np.int64), bins - 1)
        zeros = int(np.count_nonzero(found == 0))
        added = np.bincount(places, minlength=bins)
        added[0] -= zeros
        self.zeros += zeros
        self.counts += added

    @property
    def width(self) -> float:
        """Of one bin."""
        return self.limit / len(self.counts)

    def _reach(self, top: float) -> None:
        if self.limit == 0.0:
            self.limit = top
        while self.limit < top:
            merged = self.counts.reshape(-1, 2).sum(1)
            self.counts = np.concatenate([merged, np.zeros_like(merged)])
            self.limit *= 2.0
