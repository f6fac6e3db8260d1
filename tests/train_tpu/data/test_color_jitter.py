"""Colour jitter: the law of its draws. Its pixels are in test_timm_augmentation.py."""

import collections

import numpy as np
from laws import KS_LIMIT, ks

from train_tpu.data import color_jitter


def test_factors_are_uniform_and_the_order_is_random() -> None:
    rng = np.random.default_rng(0)
    drawn = [color_jitter.draw(rng, 0.4) for _ in range(1200)]
    for name in ("brightness", "contrast", "saturation"):
        assert ks(np.array([dict(steps)[name] for steps in drawn]), 0.6, 1.4) < KS_LIMIT
    orders = collections.Counter(tuple(name for name, _ in steps) for steps in drawn)
    assert len(orders) == 6 and all(abs(count - 200) < 4 * 200**0.5 for count in orders.values())


def test_factors_are_never_negative() -> None:
    rng = np.random.default_rng(0)
    factors = [factor for _ in range(200) for _, factor in color_jitter.draw(rng, 2.0)]
    assert min(factors) >= 0 and 2.5 < max(factors) <= 3
