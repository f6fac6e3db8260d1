"""Classes at the size of the label, against bilinear interpolation written out for single pixels."""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
import plain_scores
import pytest

from train_tpu.errors import RunFailed, UserError
from train_tpu.evaluation.label_scores import LabelSizeMeter, label_confusion, resized
from train_tpu.evaluation.label_size import PADDED, classes_at

#: Between two scores that are this near in float64, float32 may choose either.
TIE = 1e-5


def plain_scores_at(logits: np.ndarray, shown: tuple[int, int], y: int, x: int, size: tuple[int, int]):
    """What PyTorch's interpolate(mode="bilinear", align_corners=False) defines for one pixel, in float64."""

    def taps(i: int, source: int, target: int) -> tuple[int, int, float]:
        centre = max((i + 0.5) * source / target - 0.5, 0.0)
        low = min(math.floor(centre), source - 1)
        return low, min(low + 1, source - 1), centre - low

    top, bottom, down = taps(y, shown[0], size[0])
    left, right, across = taps(x, shown[1], size[1])
    values = logits.astype(np.float64)
    upper = values[top, left] * (1 - across) + values[top, right] * across
    lower = values[bottom, left] * (1 - across) + values[bottom, right] * across
    return upper * (1 - down) + lower * down


@pytest.mark.parametrize(
    ("shown", "size"),
    [
        ((9, 12), (31, 40)),  # larger, by no whole factor
        ((12, 12), (5, 7)),  # smaller
        ((12, 12), (24, 24)),
        ((1, 12), (3, 300)),  # wider than one multiple of the filling
        ((5, 1), (1, 1)),
    ],
)
def test_against_single_pixels(shown, size):
    logits = np.random.default_rng(sum(shown)).normal(size=(12, 12, 4)).astype(np.float32)
    found = classes_at(jnp.array(logits), shown, size)
    assert found.shape == size and found.dtype == np.uint8
    for y in range(size[0]):
        for x in range(size[1]):
            wanted = plain_scores_at(logits, shown, y, x, size)
            assert wanted.max() - wanted[found[y, x]] <= TIE, (y, x)


def test_what_is_not_resized_keeps_its_classes():
    logits = np.random.default_rng(0).normal(size=(PADDED + 1, 20, 3)).astype(np.float32)
    logits[0, 0] = 1.0  # the first of equals
    found = classes_at(jnp.array(logits), (PADDED + 1, 17), (PADDED + 1, 17))
    np.testing.assert_array_equal(found, logits[:, :17].argmax(-1))


def test_padding_of_the_canvas_is_not_read():
    logits = np.zeros((8, 8, 2), np.float32)
    logits[..., 1] = -1.0
    logits[4:, :, 1] = logits[:, 6:, 1] = 1e6
    assert not classes_at(jnp.array(logits), (4, 6), (16, 24)).any()


@pytest.mark.parametrize(("shown", "size"), [((9, 4), (4, 4)), ((0, 4), (4, 4)), ((4, 4), (4, 0))])
def test_sizes_that_cannot_be(shown, size):
    with pytest.raises(ValueError, match="on a canvas of"):
        classes_at(jnp.zeros((8, 8, 2)), shown, size)


def test_confusion_is_counted_by_pixel():
    predicted = np.array([[0, 1, 1], [1, 0, 0]], np.uint8)
    labels = np.array([[0, 1, 0], [255, 7, 1]], np.uint8)
    np.testing.assert_array_equal(label_confusion(predicted, labels, 2), [[1, 1], [1, 1], [1, 0]])


class Source:
    """Labels of 6 x 8 and 4 x 5 pixels; the third file is gone."""

    def __init__(self):
        rng = np.random.default_rng(3)
        self.labels = [rng.integers(0, 3, shape).astype(np.uint8) for shape in ((6, 8), (4, 5))]

    def __len__(self):
        return 3

    def __getitem__(self, index):
        if index == 2:
            raise ValueError("gone.png: no such file")
        return {"semantic": self.labels[index]}


def test_the_meter_scores_labels_as_they_are():
    """On a canvas of 8 x 8 the first fills a width of 8, the second is enlarged to 6 x 8."""
    source: Any = Source()
    meter = LabelSizeMeter(("a", "b", "c"), source, (8, 8), (8, 8))
    index = np.array([1, -1, 0])
    truths = meter.truths(index)
    assert [(t.place, t.shown) for t in truths] == [(0, (6, 8)), (2, (6, 8))]
    assert resized(truths) and not resized(truths[1:])
    logits = jnp.array(np.random.default_rng(4).normal(size=(3, 8, 8, 3)), jnp.float32)
    meter.add(logits, truths, loss=5.0)
    said = [classes_at(logits[0], (6, 8), (4, 5)), np.argmax(logits[2, :6], -1)]
    wanted = plain_scores.pixel_scores(
        np.concatenate([part.ravel() for part in said]),
        np.concatenate([source.labels[1].ravel(), source.labels[0].ravel()]),
        3,
    )
    assert meter.value == pytest.approx({**wanted, "count": 2, "loss": 2.5}, abs=1e-12)
    assert sum(row.pixels for row in meter.classes) == 6 * 8 + 4 * 5
    with pytest.raises(UserError, match=r"can no longer be read: gone\.png"):
        meter.truths(np.array([2]))
    before = meter.value
    meter.add(logits.at[1].set(np.nan).at[0, 6:].set(np.inf), truths[:1], loss=5.0)  # of padding: no matter
    assert meter.value["count"] == before["count"] + 1
    for wrong in (np.nan, np.inf):
        with pytest.raises(RunFailed, match="logits that are not finite"):
            meter.add(logits.at[2, 5, 7, 1].set(wrong), truths)
