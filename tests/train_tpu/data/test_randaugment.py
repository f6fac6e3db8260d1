"""RandAugment: its notation and the law of its draws. Its pixels are in test_timm_augmentation.py."""

import collections

import numpy as np
import pytest

from train_tpu.data.augment_ops import OPERATIONS
from train_tpu.data.randaugment import INCREASING, PLAIN, WEIGHTS, RandAugment, parse
from train_tpu.errors import UserError

STANDARD = "rand-m9-mstd0.5-inc1"
DRAWS = 3000


def draws(text: str, count: int = DRAWS) -> list[list[tuple[str, float]]]:
    policy = parse(text)
    assert policy is not None
    rng = np.random.default_rng(0)
    return [policy.draw(rng) for _ in range(count)]


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("rand", RandAugment()),
        (STANDARD, RandAugment(9, std=0.5, increasing=True)),
        ("rand-m7-n3-p1-mmax20-inc0", RandAugment(7, 3, 1.0, most=20.0)),
        ("rand-mstd101-tweights", RandAugment(std=101.0, weighted=True)),
        ("rand-mmax0", RandAugment()),  # as in timm, 0 stands for the usual 10
        ("rand-n0", RandAugment(layers=0)),
    ],
)
def test_notation(text: str, policy: RandAugment) -> None:
    assert parse(text) == policy


def test_nothing_is_off() -> None:
    assert parse("") is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("augmix-m3", "'augmix' is no policy here"),
        ("m9", "'m9' is no policy here"),
        ("rand-m9.5", "'m9.5' is not a whole number"),
        ("rand-m", "'m' is not known"),
        ("rand-m9-", "'' is not known"),
        ("rand-w0", "'w0' is not known"),
        ("rand-mstdinf", "'mstdinf' is not known"),
        ("rand-inc2", "'inc2' is neither inc0 nor inc1"),
        ("rand-m9-m8", "'m8' comes twice"),
        ("rand-p1.5", "a probability of 1.5 is more than 1"),
        ("rand-n16-tweights", "with tweights n is at most 15"),
        ("rand-m9 ", "'m9 ' is not known"),
    ],
)
def test_mistakes_are_named(tiny_config, text: str, reason: str) -> None:
    """When the config is looked at, not when the first image is read."""
    with pytest.raises(UserError, match="accepted: 'rand' and") as caught:
        tiny_config({"data.randaugment": text})
    assert f"--config.data.randaugment={text!r}: {reason};" in str(caught.value)


@pytest.mark.parametrize(("text", "names"), [("rand-p1", PLAIN), ("rand-p1-inc1", INCREASING)])
def test_operations_are_equally_likely(text: str, names: tuple[str, ...]) -> None:
    counts = collections.Counter(name for steps in draws(text) for name, _ in steps)
    assert set(counts) == set(names) and sum(counts.values()) == 2 * DRAWS
    expected = 2 * DRAWS / len(names)
    assert all(abs(count - expected) < 4 * expected**0.5 for count in counts.values())


def test_layers_are_drawn_with_replacement() -> None:
    same = sum(steps[0][0] == steps[1][0] for steps in draws("rand-p1"))
    assert abs(same - DRAWS / 15) < 4 * (DRAWS / 15) ** 0.5


def test_each_layer_is_done_half_the_time() -> None:
    done = collections.Counter(len(steps) for steps in draws("rand-m9"))
    for layers, share in ((0, 0.25), (1, 0.5), (2, 0.25)):
        assert abs(done[layers] - share * DRAWS) < 4 * (DRAWS * share) ** 0.5


def test_weighted_operations_come_by_their_weights_and_once() -> None:
    all_steps = draws("rand-p1-n1-tweights")
    counts = collections.Counter(name for ((name, _),) in all_steps)
    total = sum(WEIGHTS.values())
    for name, weight in WEIGHTS.items():
        expected = DRAWS * weight / total
        assert abs(counts[name] - expected) < 4 * max(expected, 1) ** 0.5
    assert all(len({name for name, _ in steps}) == 15 for steps in draws("rand-p1-n15-tweights", 20))


def angles(text: str) -> np.ndarray:
    return np.array([value for steps in draws(text) for name, value in steps if name == "Rotate"])


def test_magnitude_is_normal_around_its_mean() -> None:
    """Three degrees a magnitude, either way with probability 1/2."""
    values = angles("rand-m5-mstd0.5-p1")
    sizes = np.abs(values) / 3
    n = len(sizes)
    assert abs(sizes.mean() - 5) < 4 * 0.5 / n**0.5
    assert abs(sizes.std() - 0.5) < 4 * 0.5 / (2 * n) ** 0.5
    assert abs((values > 0).mean() - 0.5) < 4 * 0.5 / n**0.5


@pytest.mark.parametrize(("text", "most"), [("rand-m9-mstd5-p1", 10), ("rand-m9-mstd5-mmax12-p1", 12)])
def test_magnitude_is_cut(text: str, most: float) -> None:
    sizes = np.abs(angles(text)) / 3
    assert sizes.max() == pytest.approx(most) and sizes.min() == 0


def test_magnitude_is_uniform_beyond_a_deviation_of_100() -> None:
    sizes = np.abs(angles("rand-m8-mstd101-p1")) / 3
    counts, _ = np.histogram(sizes, bins=4, range=(0, 8))
    expected = len(sizes) / 4
    assert counts.sum() == len(sizes) and all(abs(c - expected) < 4 * expected**0.5 for c in counts)


def test_every_operation_is_used() -> None:
    assert set(PLAIN) | set(INCREASING) == set(OPERATIONS)
    assert set(WEIGHTS) <= set(INCREASING)
