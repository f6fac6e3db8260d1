"""For tests of what is random: the gap between draws and a law; an image whose pixels say where they are."""

import math

import numpy as np

# Largest gap between the distribution of n draws and the law, times sqrt(n), that is passed with probability
# 0.999 (Kolmogorov). Seeds are fixed, so a test passes always or never.
KS_LIMIT = 1.95


def ks(values: np.ndarray, low: float, high: float) -> float:
    """sqrt(n) times the largest gap between the distribution of the values and the uniform one."""
    n = len(values)
    law = (np.sort(values) - low) / (high - low)
    steps = np.arange(n + 1) / n
    return math.sqrt(n) * float(max(np.max(steps[1:] - law), np.max(law - steps[:-1])))


def coordinates(height: int, width: int) -> np.ndarray:
    """uint8 (height, width, 3): channel 0 is the row, channel 1 the column."""
    rows, columns = np.indices((height, width))
    return np.stack([rows, columns, rows * 0], axis=-1).astype(np.uint8)
