"""The moving average of the weights."""

import jax.numpy as jnp
import numpy as np
import pytest

from train_tpu.state import ema_decay, update_ema

FLOAT32 = 1e-6


def test_average_against_plain_arithmetic() -> None:
    """Ten updates: the first ones weigh (1 + t) / (10 + t), later ones the decay."""
    values = np.random.default_rng(0).normal(size=10)
    average, expected = {"w": jnp.float32(0.0)}, 0.0
    for t, value in enumerate(values, start=1):
        average = update_ema(average, {"w": jnp.float32(value)}, jnp.int32(t), decay=0.4)
        decay = min(0.4, (1 + t) / (10 + t))
        expected = decay * expected + (1 - decay) * value
    assert float(average["w"]) == pytest.approx(expected, rel=FLOAT32)


def test_constant_decay_is_that_of_timm() -> None:
    """timm's ModelEma: ema * decay + (1 - decay) * model, from the first update on."""
    average, expected = {"w": jnp.float32(3.0)}, 3.0
    for t in range(1, 6):
        average = update_ema(average, {"w": jnp.float32(t)}, jnp.int32(t), decay=0.9, warmup=False)
        expected = expected * 0.9 + (1 - 0.9) * t
    assert float(average["w"]) == pytest.approx(expected, rel=FLOAT32)


def test_decay_reaches_back_over_a_share_of_the_run(tiny_config) -> None:
    config = tiny_config({"ema.horizon": 0.05})
    assert ema_decay(config, total_steps=1000) == pytest.approx(1 - 1 / 50)
    assert ema_decay(config, total_steps=8) == 0.5  # two steps at least


def test_decay_as_given(tiny_config) -> None:
    assert ema_decay(tiny_config({"ema.horizon": 0.0, "ema.decay": 0.9999}), 10) == 0.9999
    assert ema_decay(tiny_config({"ema.horizon": 0.0}), 10) == 0.0
