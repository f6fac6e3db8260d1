"""The embedded digits and their split."""

import numpy as np
from sklearn.datasets import load_digits

from train_tpu.data import digits

# Written down: another split would make the figures of different versions incomparable.
FIRST_HELD_OUT = [20, 1269, 1359, 1467, 1011, 1453, 1332, 1141]


def test_split_is_stratified_complete_and_fixed() -> None:
    labels = load_digits().target
    train, held_out = digits.split(labels)
    assert len(held_out) == 360 and sorted([*train, *held_out]) == list(range(1797))
    assert np.bincount(labels[held_out]).tolist() == [36] * 10
    assert held_out[:8].tolist() == FIRST_HELD_OUT


def test_images_are_the_scans_enlarged() -> None:
    dataset = digits.load(32)
    assert dataset.embedded and len(dataset.train) == 1437 and dataset.class_names[3] == "3"
    example = dataset.held_out[0]
    image = np.asarray(example["image"])
    assert image.shape == (32, 32, 3) and image.dtype == np.uint8
    _, held_out = digits.split(load_digits().target)
    scan = load_digits().images[held_out[0]] * (255 / 16)
    assert example["label"] == load_digits().target[held_out[0]]
    # the mean of each 4x4 block of the enlarged image is near the pixel that it came from
    blocks = image[..., 0].reshape(8, 4, 8, 4).mean((1, 3))
    assert np.corrcoef(blocks.ravel(), scan.ravel())[0, 1] > 0.98


def test_reference_scores_are_those_of_good_classifiers() -> None:
    scores = digits.reference_scores()
    assert set(scores) == {"3 nearest neighbours", "RBF support vector machine"}
    assert all(0.975 < score < 1.0 for score in scores.values())
