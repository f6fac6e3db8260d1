"""Learning rates against closed forms and a published training log; when things are due."""

import math

import pytest

from train_tpu.errors import UserError
from train_tpu.schedule import Length, due, peak_lr, run_length, warmup_cosine

# float32 cosine of an angle that is itself rounded: the rate is good to about 1e-6 of the peak.
RELATIVE = 2e-6
# The reference's log, as we have it, has three digits.
LOG_DIGITS = 1e-3

EPOCH = 625  # steps of an epoch at batch 2048
NEXT_VIT = warmup_cosine(2e-3, Length(EPOCH, 20 * EPOCH, 300 * EPOCH), 1e-6, 1e-5)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 1e-6),
        (10 * EPOCH, 1e-6 + 0.5 * (2e-3 - 1e-6)),
        (20 * EPOCH, 1e-5 + 0.5 * (2e-3 - 1e-5) * (1 + math.cos(math.pi / 15))),
        (150 * EPOCH, 1e-5 + 0.5 * (2e-3 - 1e-5)),
        (300 * EPOCH, 1e-5),
        (301 * EPOCH, 1e-5),
    ],
)
def test_rate_at_named_steps(step: int, expected: float) -> None:
    assert float(NEXT_VIT(step)) == pytest.approx(expected, rel=RELATIVE)


@pytest.mark.parametrize(("epoch", "logged"), [(20, 1.900e-3), (100, 1.511e-3), (200, 5.17e-4)])
def test_rate_at_epoch_ends_is_that_of_the_published_log(epoch: int, logged: float) -> None:
    """The reference steps once an epoch: its epoch e runs at the rate of the end of our epoch e - 1."""
    assert float(NEXT_VIT((epoch - 1) * EPOCH)) == pytest.approx(logged, rel=LOG_DIGITS)


def test_no_warm_up() -> None:
    assert float(warmup_cosine(0.4, Length(10, 0, 100), 0.0, 0.0)(0)) == pytest.approx(0.4, rel=RELATIVE)


def test_run_length_from_epochs(tiny_config) -> None:
    config = tiny_config({"schedule.steps": 0, "schedule.epochs": 10.0, "schedule.warmup_epochs": 1.0})
    assert run_length(config, examples=1437) == Length(epoch=90, warmup=90, total=898)


def test_run_length_from_steps_squeezes_the_warm_up(tiny_config) -> None:
    assert run_length(tiny_config({"schedule.steps": 40}), examples=1437) == Length(90, 10, 40)


def test_run_of_no_steps_is_refused(tiny_config) -> None:
    with pytest.raises(UserError, match="less than one step"):
        run_length(tiny_config({"schedule.steps": 0, "schedule.epochs": 0.001}), examples=100)


def test_peak_is_scaled_by_the_batch(tiny_config) -> None:
    config = tiny_config({"schedule.base_lr": 5e-4, "schedule.base_batch": 512, "data.batch_size": 2048})
    assert peak_lr(config) == pytest.approx(2e-3)
    assert peak_lr(tiny_config({"schedule.base_lr": 5e-4})) == 5e-4


def test_due() -> None:
    assert [step for step in range(1, 11) if due(step, every=4, total=10)] == [4, 8, 10]
    assert [step for step in range(1, 11) if due(step, every=0, total=10)] == [10]
