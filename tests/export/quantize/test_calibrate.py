"""Ranges from histograms whose best threshold is known by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from export.quantize.calibrate import FUNCTIONS, divergence, entropy, minmax, percentile
from export.quantize.magnitudes import Magnitudes

#: Sums of a handful of float64 logarithms.
EXACT = 1e-12


def histogram(*counts: int) -> Magnitudes:
    """Bins of width 1, the upper edge of the last filled one being the largest value."""
    found = Magnitudes(len(counts))
    found.counts = np.array(counts)
    found.limit = float(len(counts))
    found.largest = float(max(np.flatnonzero(found.counts)) + 1)
    return found


def test_bins_double_when_a_larger_value_appears() -> None:
    found = Magnitudes(4)
    found.add(np.array([0.5, 1.5, -2.5, 4.0, 0.0], np.float32))
    assert found.counts.tolist() == [1, 1, 1, 1] and found.limit == 4.0 and found.zeros == 1
    found.add(np.array([[-9.0]], np.float16))
    assert found.limit == 16.0 and found.counts.tolist() == [3 + 1, 0, 1, 0], "bins of 4"
    assert found.largest == 9.0


def test_all_zeros_and_values_that_are_not_finite() -> None:
    found = Magnitudes(4)
    found.add(np.zeros(7))
    assert found.zeros == 7 and [function(found) for function in FUNCTIONS.values()] == [0, 0, 0]
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match="NaN or infinity"):
            found.add(np.array([1.0, bad]))
    with pytest.raises(ValueError, match="3 bins"):
        Magnitudes(3)


def test_percentiles_count_bins() -> None:
    found = histogram(90, 5, 4, 0, 0, 1)
    assert percentile(found, 90) == 1.0 and percentile(found, 91) == 2.0
    assert percentile(found, 99) == 3.0, "the outlier is the last hundredth"
    assert percentile(found, 99.5) == percentile(found, 100) == minmax(found) == 6.0
    for share in (0, 101):
        with pytest.raises(ValueError, match="above 0 and at most 100"):
            percentile(found, share)


def test_divergence_by_hand() -> None:
    """4 bins of counts 3, 1, 2, 2 in 2 groups: (3 + 1) / 2 each, then 2 and 2, which is what they were."""
    counts = np.array([3, 1, 2, 2])
    expected = 3 / 8 * math.log(3 / 2) + 1 / 8 * math.log(1 / 2)
    assert divergence(counts, 4, levels=2) == pytest.approx(expected, rel=EXACT)
    # clipped at 2: (3, 1 + 4) of 8 against (3, 1) of 4, each bin a level of its own
    clipped = 3 / 8 * math.log((3 / 8) / (3 / 4)) + 5 / 8 * math.log((5 / 8) / (1 / 4))
    assert divergence(counts, 2, levels=2) == pytest.approx(clipped, rel=EXACT)
    # clipping into an empty bin: the rounded form expects next to nothing there, (3, 0.0001) of 3.0001
    surprise = 3 / 4 * math.log((3 / 4) / (3 / 3.0001)) + 1 / 4 * math.log((1 / 4) / (1e-4 / 3.0001))
    assert divergence(np.array([3, 0, 1]), 2, levels=2) == pytest.approx(surprise, rel=EXACT)


def test_empty_bins_of_a_group_stay_empty() -> None:
    """Group (4, 0) spreads over its filled bin only, so nothing is lost by rounding."""
    assert divergence(np.array([4, 0, 1, 1]), 4, levels=2) == pytest.approx(0.0, abs=EXACT)


def test_entropy_cuts_off_a_lonely_outlier() -> None:
    """Eight bins that two levels of four describe exactly (8 8 8 8 | 4 4 4 4), then one value far away.

    Keeping it, two levels must span 16 bins: 8 and 4 share a level, and the divergence is that of mixing
    them. Cutting at 8 moves one of 49 values by one bin.
    """
    found = histogram(8, 8, 8, 8, 4, 4, 4, 4, 0, 0, 0, 0, 0, 0, 0, 1)
    kept, cut = divergence(found.counts, 16, levels=2), divergence(found.counts, 8, levels=2)
    assert cut < kept
    assert entropy(found, levels=2, stride=1) == 8.0 < minmax(found) == 16.0


def test_entropy_keeps_a_range_that_is_used_evenly() -> None:
    found = histogram(*[5] * 16)
    assert entropy(found, levels=4, stride=1) == 16.0


def test_outliers_of_real_size() -> None:
    """A million normal values and one thousand times as far out: both clip it, minmax does not."""
    found = Magnitudes()
    rng = np.random.default_rng(0)
    found.add(rng.normal(size=1_000_000).astype(np.float32))
    found.add(np.array([1000.0], np.float32))
    assert minmax(found) == 1000.0
    assert entropy(found) < 150 and percentile(found) < 10
