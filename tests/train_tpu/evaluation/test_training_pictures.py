"""What a dense task is trained on, drawn."""

import numpy as np

from train_tpu.data.dense_examples import DETECTION, IGNORE, SEGMENTATION
from train_tpu.data.dense_rows import Rows
from train_tpu.evaluation.dense_pictures import LARGE_SIDE
from train_tpu.evaluation.overlays import colour_of
from train_tpu.evaluation.training_pictures import training_rows

NAMES = ("sky", "cat", "dog")
CANVAS = (20, 40)
SQUARE = (4, 2, 14, 12)  # x1 y1 x2 y2


def pixel(panel, x: float, y: float) -> np.ndarray:
    """Of a panel, at a place of the canvas."""
    scale = LARGE_SIDE / CANVAS[1]
    return np.asarray(panel).astype(int)[round(y * scale), round(x * scale)]


def hue_of(colour) -> int:
    """The strongest channel."""
    return int(np.argmax(colour))


def test_instances_are_drawn_where_they_are() -> None:
    batch = Rows(DETECTION, CANVAS, max_objects=3, mask_size=8).empty(2)
    batch["image"][:] = 100
    batch["boxes"][0, 1], batch["labels"][0, 1], batch["masks"][0, 1] = SQUARE, 2, 1
    some, none = training_rows(batch, NAMES)
    assert some.words == "1 objects" and none.words == "0 objects"
    image, drawn = some.panels
    assert image.size == drawn.size == (LARGE_SIDE, LARGE_SIDE // 2)
    assert (pixel(image, 9, 7) == 100).all() and (pixel(drawn, 30, 7) == 100).all()
    inside = pixel(drawn, 9, 9)
    np.testing.assert_allclose(inside, 0.5 * 100 + 0.5 * np.array(colour_of(2)), atol=1)
    assert (np.asarray(none.panels[1]) == 100).all()


def test_a_crowd_is_called_one() -> None:
    batch = Rows(DETECTION, CANVAS, max_objects=1, mask_size=8).empty(1)
    batch["boxes"][0, 0], batch["labels"][0, 0] = (4, 8, 36, 18), 1
    pictures = []
    for crowd in (False, True):
        batch["crowd"][0, 0] = crowd
        (row,) = training_rows(batch, NAMES)
        pictures.append(np.asarray(row.panels[1]))
    assert (pictures[0] != pictures[1]).any(), "its caption is longer"


def test_classes_are_drawn_where_they_are() -> None:
    batch = Rows(SEGMENTATION, CANVAS).empty(2)
    batch["image"][:] = 100
    batch["labels"][0, :, :30] = 1
    batch["labels"][0, :5, :10] = 0
    batch["labels"][1] = 2
    first, second = training_rows(batch, NAMES)
    assert first.words == "25% of the canvas without a class" and second.words == ""
    assert [name for name, _ in first.legend] == ["cat", "sky"], "the largest first"
    assert second.legend == (("dog", colour_of(2)),)
    for x, y, label in ((5, 2, 0), (28, 18, 1)):
        colour = pixel(first.panels[1], x, y)
        assert hue_of(colour) == hue_of(colour_of(label))
    beyond = pixel(first.panels[1], 35, 10)
    assert beyond.min() >= 200, "hatched, pale"
    assert (batch["labels"][0, :, 30:] == IGNORE).all()
