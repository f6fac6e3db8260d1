"""IoU and accuracy of pixels, counted by hand and by a plain reference."""

import jax
import jax.numpy as jnp
import numpy as np
import plain_scores
import pytest

from train_tpu.errors import RunFailed, UserError
from train_tpu.evaluation.segmentation_scores import (
    ClassPixels,
    SegmentationMeter,
    pixel_confusion,
    segmentation_table,
)

ROUNDING = 1e-12  # quotients of counts, in float64
NAMES = ("wall", "sky", "tree", "boat")


def drawn(seed: int, images: int = 3, classes: int = 4) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Predictions that are often right, for labels of which some are 255; the last image is padding."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, (images + 1, 12, 10)).astype(np.uint8)
    predicted = np.where(rng.random(labels.shape) < 0.6, labels, rng.integers(0, classes, labels.shape))
    labels[rng.random(labels.shape) < 0.1] = 255
    return predicted, {"labels": labels, "index": np.array([*range(images), -1], np.int32)}


def answers_of(predicted: np.ndarray, batch: dict[str, np.ndarray], classes: int = 4) -> dict:
    counts = jax.jit(pixel_confusion, static_argnums=3)(predicted, batch["labels"], batch["index"], classes)
    return {"confusion": counts, "count": (batch["index"] >= 0).sum()}


def test_counts_by_hand() -> None:
    """One image of 2 x 3, and one of padding that would change everything."""
    labels = np.array([[[0, 0, 1], [1, 255, 2]], [[0, 0, 0], [0, 0, 0]]], np.uint8)
    predicted = np.array([[[0, 1, 1], [1, 1, 0]], [[1, 1, 1], [1, 1, 1]]])
    counts = pixel_confusion(jnp.array(predicted), jnp.array(labels), jnp.array([7, -1]), 3)
    np.testing.assert_array_equal(counts, [[1, 1, 0], [0, 2, 0], [1, 0, 0], [0, 0, 0]])
    meter = SegmentationMeter(NAMES[:3])
    meter.add({"confusion": counts, "count": 1, "loss": 0.5})
    wall, sky, tree = meter.classes
    assert (wall, sky, tree) == (
        ClassPixels("wall", 2, 2, 1),
        ClassPixels("sky", 2, 3, 2),
        ClassPixels("tree", 1, 0, 0),
    )
    assert (wall.iou, sky.iou, tree.iou) == (1 / 3, 2 / 3, 0.0)
    expected = {"miou": 1 / 3, "macc": (0.5 + 1 + 0) / 3, "aacc": 0.6, "count": 1, "loss": 0.5}
    assert meter.value == pytest.approx(expected, abs=ROUNDING)


@pytest.mark.parametrize("seed", range(3))
def test_against_the_definition(seed: int) -> None:
    """In two batches; the class "boat" is neither there nor predicted, and so not in the means."""
    meter, seen, said = SegmentationMeter(NAMES), [], []
    for part in range(2):
        predicted, batch = drawn(10 * seed + part, classes=3)
        meter.add(answers_of(predicted, batch))
        seen.append(batch["labels"][:-1])
        said.append(predicted[:-1])
    expected = plain_scores.pixel_scores(np.concatenate(said), np.concatenate(seen), 4)
    assert meter.value == pytest.approx({**expected, "count": 6}, abs=ROUNDING)
    assert meter.classes[3].iou is None and meter.classes[3].accuracy is None


def test_logits_are_scored_by_their_best_class() -> None:
    predicted, batch = drawn(0)
    noise = np.random.default_rng(1).random((*predicted.shape, 4)).astype(np.float32)
    meter, other = SegmentationMeter(NAMES), SegmentationMeter(NAMES)
    meter.add({"logits": jnp.array(noise + np.eye(4, dtype=np.float32)[predicted])}, batch)
    other.add(answers_of(predicted, batch))
    assert meter.value == other.value and meter.value["count"] == 3


def test_means_over_batches_of_different_size() -> None:
    meter = SegmentationMeter(NAMES)
    for images, loss in ((1, 2.0), (3, 10.0)):
        predicted, batch = drawn(images, images)
        meter.add({**answers_of(predicted, batch), "loss": loss})
    assert meter.value["loss"] == 3.0 and meter.value["count"] == 4


def test_labels_that_are_no_class_are_refused() -> None:
    predicted, batch = drawn(0)
    batch["labels"][0, 0, :2] = 4, 200
    with pytest.raises(UserError, match=r"2 pixels .* none of the 4; expected 0 to 3, or 255"):
        SegmentationMeter(NAMES).add(answers_of(predicted, batch))


def test_answers_of_other_classes_are_refused() -> None:
    predicted, batch = drawn(0)
    with pytest.raises(ValueError, match="answers of 5 classes; there are 4"):
        SegmentationMeter(NAMES).add(answers_of(predicted, batch, 5))
    with pytest.raises(ValueError, match="beside the batch"):
        SegmentationMeter(NAMES).add({"logits": np.zeros((4, 12, 10, 4), np.float32)})


def test_nothing_to_score() -> None:
    meter = SegmentationMeter(NAMES)
    with pytest.raises(RunFailed, match="no held-out image"):
        _ = meter.value
    predicted, batch = drawn(0)
    batch["labels"][:] = 255
    meter.add(answers_of(predicted, batch))
    with pytest.raises(RunFailed, match="no pixel"):
        _ = meter.value


def test_table() -> None:
    classes = [
        ClassPixels("sky", 60, 50, 45),
        ClassPixels("boat", 0, 0, 0),
        ClassPixels("a class whose name is longer than a column", 40, 50, 35),
    ]
    assert segmentation_table(classes) == [
        "class                               IoU  accuracy  share of pixels",
        "a class whose name is longer tha  63.64     87.50           40.00%",
        "sky                               69.23     75.00           60.00%",
        "boat                                  -         -            0.00%",
        "mean                              66.43     81.25",
    ]
