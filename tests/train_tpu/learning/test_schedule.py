"""Learning rates against closed forms and a published training log; when things are due."""

import math
from pathlib import Path

import pytest

from train_tpu.errors import UserError
from train_tpu.flags import load_recipe
from train_tpu.learning.schedule import Length, due, learning_rate, log_interval, peak_lr, run_length

# float32 cosine of an angle that is itself rounded: the rate is good to about 1e-6 of the peak.
RELATIVE = 2e-6
# The reference's log, as we have it, has three digits.
LOG_DIGITS = 1e-3

EPOCH = 625  # steps of an epoch at batch 2048
PEAK, START, END = 2e-3, 1e-6, 1e-5


@pytest.fixture
def next_vit(tiny_config):
    """Call with changes: the rate of Next-ViT's schedule."""

    def make(changes=None, length=Length(EPOCH, 20 * EPOCH, 300 * EPOCH)):  # noqa: B008
        settings = {
            "base_lr": PEAK,
            "warmup_lr": START,
            "end_lr": END,
            "epochs": 300.0,
            "warmup_epochs": 20.0,
        }
        settings = {f"schedule.{key}": value for key, value in (settings | (changes or {})).items()}
        return learning_rate(tiny_config(settings), length)

    return make


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, START),
        (10 * EPOCH, START + 0.5 * (PEAK - START)),
        (20 * EPOCH, END + 0.5 * (PEAK - END) * (1 + math.cos(math.pi / 15))),
        (150 * EPOCH, END + 0.5 * (PEAK - END)),
        (300 * EPOCH, END),
        (301 * EPOCH, END),
    ],
)
def test_rate_at_named_steps(next_vit, step: int, expected: float) -> None:
    assert float(next_vit()(step)) == pytest.approx(expected, rel=RELATIVE)


@pytest.mark.parametrize(("epoch", "logged"), [(20, 1.900e-3), (100, 1.511e-3), (200, 5.17e-4)])
@pytest.mark.parametrize("step_of_epoch", [0, EPOCH // 2, EPOCH - 1])
def test_rate_in_an_epoch_is_that_of_the_published_log(
    next_vit, epoch: int, logged: float, step_of_epoch: int
) -> None:
    """The log's epoch N was trained at the rate of index N - 1: one epoch late."""
    rate = next_vit({"clock": "finished_epoch"})
    assert float(rate(epoch * EPOCH + step_of_epoch)) == pytest.approx(logged, rel=LOG_DIGITS)


def test_clock_of_epochs(next_vit) -> None:
    by_step, by_epoch, late = (next_vit({"clock": clock}) for clock in ("step", "epoch", "finished_epoch"))
    for epoch in (0, 1, 19, 20, 123, 299):
        first, last = epoch * EPOCH, (epoch + 1) * EPOCH - 1
        assert float(by_epoch(first)) == float(by_epoch(last)) == pytest.approx(float(by_step(first)))
        assert float(late(first)) == float(late(last)) == float(by_epoch(max(first - EPOCH, 0)))


def test_cool_down_stays_at_the_end(next_vit, tiny_config) -> None:
    changes = {"schedule.epochs": 300.0, "schedule.cooldown_epochs": 10.0, "schedule.steps": 0}
    length = run_length(tiny_config(changes), examples=16 * EPOCH)
    assert length == Length(EPOCH, 2 * EPOCH, 310 * EPOCH, 10 * EPOCH)
    for clock in ("step", "epoch"):
        rate = next_vit({"cooldown_epochs": 10.0, "clock": clock}, length._replace(warmup=20 * EPOCH))
        assert float(rate(150 * EPOCH)) == pytest.approx(END + 0.5 * (PEAK - END), rel=RELATIVE)
        assert float(rate(300 * EPOCH)) == float(rate(309 * EPOCH)) == pytest.approx(END, rel=RELATIVE)


def test_constant_after_warm_up(next_vit) -> None:
    rate = next_vit({"name": "constant"})
    assert float(rate(10 * EPOCH)) == pytest.approx(START + 0.5 * (PEAK - START), rel=RELATIVE)
    assert float(rate(20 * EPOCH)) == float(rate(299 * EPOCH)) == pytest.approx(PEAK, rel=RELATIVE)


def test_no_warm_up(next_vit) -> None:
    rate = next_vit({"warmup_epochs": 0.0, "base_lr": 0.4}, Length(10, 0, 100))
    assert float(rate(0)) == pytest.approx(0.4, rel=RELATIVE)


def test_run_length_from_epochs(tiny_config) -> None:
    config = tiny_config({"schedule.steps": 0, "schedule.epochs": 10.0, "schedule.warmup_epochs": 1.0})
    assert run_length(config, examples=1437) == Length(epoch=90, warmup=90, total=898)


def test_run_length_from_steps_squeezes_the_warm_up(tiny_config) -> None:
    assert run_length(tiny_config({"schedule.steps": 40}), examples=1437) == Length(90, 10, 40)


def test_run_of_no_steps_is_refused(tiny_config) -> None:
    with pytest.raises(UserError, match="less than one step"):
        run_length(tiny_config({"schedule.steps": 0, "schedule.epochs": 0.001}), examples=100)


def test_warm_up_of_a_schedule_in_steps_is_squeezed_with_it(repository: Path) -> None:
    recipe = load_recipe(repository / "configs" / "ade20k_upernet_swin_t.py")
    assert run_length(recipe, examples=20_210)[1:3] == (1500, 160_000)
    recipe.schedule.steps = 1600
    assert run_length(recipe, examples=20_210)[1:3] == (15, 1600)


def test_warm_up_in_steps_that_leaves_none_is_refused(tiny_config) -> None:
    assert run_length(tiny_config({"schedule.steps": 40, "schedule.warmup_steps": 39}), 1437).warmup == 39
    with pytest.raises(UserError, match=r"warmup_steps=40: the whole run has 40 steps; .*warmup_steps=4$"):
        run_length(tiny_config({"schedule.steps": 40, "schedule.warmup_steps": 40}), examples=1437)


def test_peak_is_scaled_by_the_batch(tiny_config) -> None:
    config = tiny_config({"schedule.base_lr": 5e-4, "schedule.base_batch": 512, "data.batch_size": 2048})
    assert peak_lr(config) == pytest.approx(2e-3)
    assert peak_lr(tiny_config({"schedule.base_lr": 5e-4})) == 5e-4


def test_due() -> None:
    assert [step for step in range(1, 11) if due(step, every=4, total=10)] == [4, 8, 10]
    assert [step for step in range(1, 11) if due(step, every=0, total=10)] == [10]


@pytest.mark.parametrize(("total", "expected"), [(1, 1), (40, 2), (900, 45), (100_000, 50)])
def test_short_runs_are_logged_more_often(total: int, expected: int) -> None:
    assert log_interval(50, total) == expected


def mmcv_rate(step: int, peak: float, regular: float, warmup: int, ratio: float) -> float:
    """mmcv's LrUpdaterHook with a linear warm-up: the regular rate, less what is missing of the warm-up."""
    return regular if step >= warmup else regular * (1 - (1 - step / warmup) * (1 - ratio))


@pytest.mark.parametrize("step", [0, 1, 749, 1499, 1500, 80_000, 159_999, 160_000, 170_000])
@pytest.mark.parametrize(("power", "end"), [(1.0, 0.0), (0.9, 1e-6)])
def test_poly_is_that_of_mmcv(tiny_config, step: int, power: float, end: float) -> None:
    peak, total, warmup, ratio = 6e-5, 160_000, 1500, 1e-6
    settings = {
        "schedule.name": "poly",
        "schedule.power": power,
        "schedule.base_lr": peak,
        "schedule.end_lr": end,
        "schedule.warmup_lr": peak * ratio,
        "schedule.warmup_steps": warmup,
        "schedule.warmup_epochs": 0.0,
        "schedule.epochs": 1.0,
        "schedule.steps": total,
    }
    config = tiny_config(settings)
    length = run_length(config, 20_000)
    assert length.warmup == warmup and length.total == total
    regular = (peak - end) * max(0.0, 1 - step / total) ** power + end
    expected = mmcv_rate(step, peak, regular, warmup, ratio)
    assert float(learning_rate(config, length)(step)) == pytest.approx(expected, rel=RELATIVE)


@pytest.mark.parametrize(
    ("epoch", "factor"), [(0.1, 1.0), (7.99, 1.0), (8.01, 0.1), (11.01, 0.01), (12.5, 0.01)]
)
def test_drops_are_those_of_mmdetection(tiny_config, epoch: float, factor: float) -> None:
    settings = {
        "schedule.name": "drops",
        "schedule.drops": (8.0, 11.0),
        "schedule.base_lr": 1e-4,
        "schedule.epochs": 12.0,
        "schedule.steps": 0,
        "schedule.warmup_steps": 500,
        "schedule.warmup_lr": 1e-10,
        "schedule.warmup_epochs": 0.0,
    }
    config = tiny_config({**settings, "data.batch_size": 16})
    length = run_length(config, 117_266)  # images of COCO's train2017 with objects
    step = int(epoch * length.epoch)
    expected = mmcv_rate(step, 1e-4, 1e-4 * factor, 500, 1e-6)
    assert float(learning_rate(config, length)(step)) == pytest.approx(expected, rel=RELATIVE)


def test_drops_that_are_none_are_refused(tiny_config) -> None:
    with pytest.raises(UserError, match=r"schedule.drops=\(11.0, 8.0\): expected rising epochs"):
        tiny_config({"schedule.name": "drops", "schedule.drops": (11.0, 8.0)})
