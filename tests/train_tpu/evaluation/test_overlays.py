"""What is drawn over images: the right colours in the right places."""

import numpy as np
import pytest
from PIL import ImageColor

from train_tpu.data.dense_examples import IGNORE
from train_tpu.evaluation.overlays import (
    MASK_TINT,
    TINT,
    WRONG,
    Drawn,
    colour_of,
    draw_classes,
    draw_instances,
    draw_mistakes,
)

# Machado, Oliveira and Fernandes 2009: how linear RGB looks to those who lack a kind of cones.
BLINDNESS = {
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}
APART = 20  # of 255, in the channel that differs most: clearly seen side by side
ROUNDING = 1.0  # of 255, to whole numbers


def gray(height: int = 60, width: int = 60) -> np.ndarray:
    return np.full((height, width, 3), 100, np.uint8)


def over(colour, share: float) -> np.ndarray:
    return (1 - share) * 100 + share * np.array(colour)


@pytest.mark.parametrize("kind", ["none", *BLINDNESS])
def test_eight_colours_are_told_apart(kind: str) -> None:
    colours = np.array([colour_of(number) for number in range(8)]) / 255
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(BLINDNESS.get(kind, np.eye(3))).T, 0, 1)
    shown = 255 * np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)
    apart = np.abs(shown[:, None] - shown).max(-1)[~np.eye(8, dtype=bool)]
    assert apart.min() > APART


def test_twenty_four_colours_then_again() -> None:
    assert len({colour_of(number) for number in range(24)}) == 24 and colour_of(24) == colour_of(0)


def test_classes_are_tinted_where_they_are() -> None:
    labels = np.zeros((60, 60), np.uint8)
    labels[:, 30:], labels[40:, :30] = 2, IGNORE
    colours = {0: colour_of(0), 2: colour_of(2)}
    pixels = np.asarray(draw_classes(gray(), labels, colours, ("sky", "sea", "rock"), 240)).astype(float)
    assert pixels.shape == (240, 240, 3)
    assert np.abs(pixels[10, 10] - over(colours[0], TINT)).max() <= ROUNDING
    assert np.abs(pixels[10, 230] - over(colours[2], TINT)).max() <= ROUNDING
    assert (pixels[80, 120] == 255).all(), "a line between classes"
    assert set(pixels[170:, :110].reshape(-1)) == {205.0, 235.0}, "hatched where there is no class"
    names = (np.abs(pixels - ImageColor.getrgb("#1f2933")).max(-1) < 30).sum(0)
    assert names[:118].any() and names[122:].any(), "both areas are named"


def test_small_areas_are_not_named() -> None:
    labels = np.zeros((60, 60), np.uint8)
    labels[:, ::2] = 1
    colours = {0: (0, 158, 115), 1: (230, 159, 0)}
    picture = draw_classes(gray(), labels, colours, ("a very long name", "b"), 240)
    assert np.asarray(picture).astype(int).sum(-1).min() > 3 * 60, "no dark letters"


def test_mistakes() -> None:
    """A quarter of the image is wrong, a quarter has no class, whatever is predicted there."""
    truth, predicted = np.zeros((60, 60), np.uint8), np.zeros((60, 60), np.int32)
    truth[:30, :30], predicted[:30] = IGNORE, 1
    pixels = np.asarray(draw_mistakes(gray(), truth, predicted, 120))
    wrong = (pixels == ImageColor.getrgb(WRONG)).all(-1)
    expected = np.zeros((120, 120), bool)
    expected[:60, 60:] = True
    np.testing.assert_array_equal(wrong, expected)
    assert set(pixels[:60, :60].reshape(-1)) == {205, 235}


def test_instances() -> None:
    """A mask in half of a box: tinted there, outlined, and the rest of the image stays gray."""
    mask = np.zeros((60, 80), bool)
    mask[20:50, 20:40] = True
    drawn = Drawn(np.array([[20, 20, 60, 50]]), np.array([1]), [mask], ["dog 0.93"])
    pixels = np.asarray(draw_instances(gray(60, 80), drawn, 160)).astype(float)
    assert pixels.shape == (120, 160, 3)
    assert np.abs(pixels[70, 60] - over(colour_of(1), MASK_TINT)).max() <= ROUNDING
    assert (pixels[70, 79] == colour_of(1)).all(), "the outline of the mask"
    assert (pixels[70, 100] == 100).all() and (pixels[110, 150] == 100).all()
    assert (pixels[70, 40] == colour_of(1)).all() and (pixels[70, 119] == colour_of(1)).all(), "the box"
    assert (pixels[70, 120] == 255).all(), "its white border"


def test_small_instances_lie_on_large_ones_in_either_order() -> None:
    large, small = np.ones((60, 60), bool), np.zeros((60, 60), bool)
    small[20:40, 20:40] = True
    boxes = np.array([[0, 0, 60, 60], [20, 20, 40, 40]])
    for order in ([0, 1], [1, 0]):
        masks = [(large, small)[i] for i in order]
        drawn = Drawn(boxes[order], np.array(order), masks, ["", ""])
        pixels = np.asarray(draw_instances(gray(), drawn, 240)).astype(float)
        first = over(colour_of(0), MASK_TINT)
        both = (1 - MASK_TINT) * first + MASK_TINT * np.array(colour_of(1))
        assert np.abs(pixels[120, 120] - both).max() <= ROUNDING
        assert np.abs(pixels[200, 120] - first).max() <= ROUNDING


def test_names_of_the_same_box_lie_side_by_side() -> None:
    boxes = np.array([[20, 20, 40, 40]] * 3)
    drawn = Drawn(boxes, np.array([0, 1, 2]), [np.zeros((60, 60), bool)] * 3, ["one", "two", "six"])
    pixels = np.asarray(draw_instances(gray(), drawn, 240))
    for label in range(3):
        plate = (pixels == colour_of(label)).all(-1).sum()
        assert plate > 150, "less than half of a plate is seen"


def test_boxes_beyond_the_image_are_drawn_at_its_edge() -> None:
    drawn = Drawn(np.array([[-30, -30, 90, 90]]), np.array([1]), [np.zeros((60, 60), bool)], ["dog"])
    pixels = np.asarray(draw_instances(gray(), drawn, 60))
    assert (pixels[0, 59] == colour_of(1)).all() and (pixels[59, 30] == colour_of(1)).all()


def test_nothing_to_draw_leaves_the_image_gray() -> None:
    drawn = Drawn(np.zeros((0, 4)), np.zeros(0, int), [], [])
    assert (np.asarray(draw_instances(gray(), drawn, 60)) == 100).all()
