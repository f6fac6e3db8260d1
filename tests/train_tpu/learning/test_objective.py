"""The objective: what a config makes of a batch, and of logits."""

import jax
import numpy as np
import pytest

from train_tpu.errors import UserError
from train_tpu.learning.objective import balanced_weights, make_objective, normalise

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FLOAT32 = 1e-6


@pytest.fixture(scope="module")
def batch() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "image": rng.integers(0, 256, size=(8, 16, 16, 3), dtype=np.uint8),
        "label": rng.integers(0, 4, size=8).astype(np.int32),
    }


@pytest.fixture
def objective(tiny_config):
    def make(changes, counts=(5, 5, 5, 5)):
        return make_objective(tiny_config(changes), 4, counts, MEAN, STD)

    return make


def test_without_augmentation_the_images_are_normalised_alone(objective, batch) -> None:
    images, targets = objective({"loss.label_smoothing": 0.2}).inputs(batch, jax.random.key(0))
    np.testing.assert_array_equal(images, normalise(batch["image"], MEAN, STD))
    expected = np.eye(4)[batch["label"]] * 0.8 + 0.05
    np.testing.assert_allclose(targets, expected, rtol=FLOAT32)


def test_each_key_has_its_effect(objective, batch) -> None:
    key = jax.random.key(1)
    plain, plain_targets = objective({}).inputs(batch, key)
    for changes, mixes in (
        ({"data.erasing": 1.0}, False),
        ({"mix.mixup": 1.0}, True),
        ({"mix.cutmix": 1.0}, True),
    ):
        images, targets = objective(changes).inputs(batch, key)
        assert np.any(images != plain)
        assert np.any(targets != plain_targets) == mixes
        np.testing.assert_allclose(np.sum(targets, -1), 1, rtol=FLOAT32)


def test_erased_images_are_mixed_not_mixed_ones_erased(objective, batch) -> None:
    """timm's order: what both do is the mixture of what erasing did, at the same key."""
    key = jax.random.key(1)
    erased, _ = objective({"data.erasing": 1.0}).inputs(batch, key)
    both, targets = objective({"data.erasing": 1.0, "mix.mixup": 1.0, "loss.label_smoothing": 0.0}).inputs(
        batch, key
    )
    first, last = batch["label"][0], batch["label"][-1]
    assert first != last
    lam = float(targets[0, first])
    assert 0 < lam < 1
    np.testing.assert_allclose(both, erased * lam + erased[::-1] * (1 - lam), rtol=1e-5, atol=1e-5)


def test_steps_draw_anew(objective, batch) -> None:
    augment = objective({"data.erasing": 0.5, "mix.mixup": 0.8, "mix.cutmix": 1.0})
    one, again, other = (augment.inputs(batch, jax.random.key(k))[0] for k in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert np.any(one != other)


def test_loss_is_that_of_the_config(objective) -> None:
    logits, targets = np.zeros((2, 4), np.float32), np.eye(4, dtype=np.float32)[[0, 1]]
    np.testing.assert_allclose(objective({}).loss(logits, targets), np.log(4), rtol=FLOAT32)
    bce = {"loss.name": "bce"}
    np.testing.assert_allclose(objective(bce).loss(logits, targets), np.log(2), rtol=FLOAT32)


def test_threshold_of_bce_asks_for_every_class_above_it(objective) -> None:
    """Targets 0.6 and 0.3 count as 1, and 0.1 as 0."""
    logits = np.array([[9.0, 9.0, -9.0, -9.0]], np.float32)
    targets = np.array([[0.6, 0.3, 0.1, 0.0]], np.float32)
    bce = {"loss.name": "bce"}
    assert objective({**bce, "loss.target_threshold": 0.2}).loss(logits, targets)[0] < 1e-3
    assert objective(bce).loss(logits, targets)[0] > 1


@pytest.mark.parametrize("name", ["cross_entropy", "bce"])
def test_balanced_classes_weigh_the_same(objective, name: str) -> None:
    """A class with a third of the images weighs three times as much."""
    changes = {"loss.name": name, "loss.class_weights": "balanced"}
    weighted = objective(changes, counts=(30, 10, 10, 30))
    assert weighted.class_weights == pytest.approx((2 / 3, 2, 2, 2 / 3))
    logits, targets = np.zeros((2, 4), np.float32), np.eye(4, dtype=np.float32)[[0, 1]]
    rare = weighted.loss(logits, targets)
    if name == "cross_entropy":
        assert rare[1] / rare[0] == pytest.approx(3, rel=1e-5)
    total = sum(c * w for c, w in zip((30, 10, 10, 30), weighted.class_weights, strict=True))
    assert total == pytest.approx(80), "the mean weight of the images is 1"
    hash(weighted)  # static under jit


def test_a_class_without_images_cannot_be_weighed() -> None:
    with pytest.raises(UserError, match="class number 2 has no training images"):
        balanced_weights((3, 4, 0, 1))


def test_unknown_counts_are_not_taken_for_equal_ones() -> None:
    with pytest.raises(UserError, match="known only after reading all of it"):
        balanced_weights(())
