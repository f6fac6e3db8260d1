"""Counts of which class is taken for which, on tables small enough to count by hand."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from train_tpu.evaluation.confusion import (
    MANY_CLASSES,
    ClassScore,
    Pair,
    confused_pairs,
    confusion_counts,
    draw_confusion,
    per_class,
    worst_classes,
)

NAMES = ("cat", "dog", "eel", "fox")
TRUTH = np.array([0, 0, 0, 0, 1, 1, 2, 2, 2])
PREDICTED = np.array([0, 1, 1, 2, 1, 1, 0, 0, 2])


def test_counts() -> None:
    expected = [[1, 2, 1, 0], [0, 2, 0, 0], [2, 0, 1, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(confusion_counts(TRUTH, PREDICTED, 4), expected)
    assert confusion_counts(np.zeros(0, int), np.zeros(0, int), 3).sum() == 0


@pytest.mark.parametrize(
    ("truth", "predicted"), [([0, -1], [0, 0]), ([0, 0], [0, 4]), ([0], [0, 0]), ([[0]], [[0]])]
)
def test_classes_that_are_not_there_are_refused(truth, predicted) -> None:
    with pytest.raises(ValueError, match="classes"):
        confusion_counts(np.array(truth), np.array(predicted), 4)


def test_each_class_with_what_it_is_taken_for() -> None:
    cat, dog, eel, fox = per_class(confusion_counts(TRUTH, PREDICTED, 4), NAMES)
    assert cat == ClassScore("cat", 4, 1, "dog", 2) and cat.accuracy == 0.25
    assert dog == ClassScore("dog", 2, 2, None, 0) and dog.accuracy == 1.0
    assert eel == ClassScore("eel", 3, 1, "cat", 2)
    assert fox == ClassScore("fox", 0, 0, None, 0) and fox.accuracy is None


def test_worst_classes_first_and_none_without_images() -> None:
    scores = per_class(confusion_counts(TRUTH, PREDICTED, 4), NAMES)
    assert [s.name for s in worst_classes(scores)] == ["cat", "eel", "dog"]
    assert [s.name for s in worst_classes(scores, 1)] == ["cat"]
    even = [ClassScore("few", 2, 1, "x", 1), ClassScore("many", 8, 4, "x", 4)]
    assert [s.name for s in worst_classes(even)] == ["many", "few"]


def test_pairs_by_how_often() -> None:
    pairs = confused_pairs(confusion_counts(TRUTH, PREDICTED, 4), NAMES)
    assert pairs == [Pair("cat", "dog", 2, 0.5), Pair("eel", "cat", 2, 2 / 3), Pair("cat", "eel", 1, 0.25)]
    assert confused_pairs(confusion_counts(TRUTH, PREDICTED, 4), NAMES, 1) == pairs[:1]


@pytest.mark.parametrize("count", [1, 4, MANY_CLASSES, MANY_CLASSES + 1])
def test_picture(count: int, tmp_path: Path) -> None:
    """A mistake of class 0 is where it belongs: in the first row, right of the diagonal."""
    truth, predicted = np.arange(count), np.arange(count)
    predicted[0] = count - 1
    path = tmp_path / "matrix.png"
    names = [f"a class with a long name {i}" for i in range(count)]
    draw_confusion(confusion_counts(truth, predicted, count), names, path, "title")
    with Image.open(path) as image:
        assert image.width > 600 and len(np.unique(np.asarray(image.convert("L")))) > 10
