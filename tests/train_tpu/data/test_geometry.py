"""Views: image, map, boxes and masks stay together, whatever the window, the size and the flip."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from train_tpu.data import geometry
from train_tpu.data.crops import Box
from train_tpu.data.dense_examples import DenseExample
from train_tpu.data.geometry import View
from train_tpu.data.masks import Bitmap

# Corners of the colour cube: what interpolation mixes of several is near to none of them (see `PURE`).
COLOURS = np.array([[(k >> channel & 1) * 255 for channel in range(3)] for k in range(8)], np.uint8)
# Levels off a corner. A pixel so near to one has less than 3 * 20 / 255 of its weights elsewhere: less than
# the 1/4 that the source pixel in which its centre lies has at least. So that one has the corner's colour.
PURE = 20
HALF_A_PIXEL = 0.5 + 1e-3  # between an edge and the edge of the pixels whose centres lie within it


@st.composite
def painted(draw) -> DenseExample:
    """Rectangles of seven colours, later ones over earlier ones; instance i has label i and colour i + 1."""
    height, width = draw(st.integers(16, 90)), draw(st.integers(16, 90))
    owner = np.zeros((height, width), np.uint8)
    for number in range(draw(st.integers(1, 7))):
        top, left = draw(st.integers(0, height - 4)), draw(st.integers(0, width - 4))
        bottom, right = draw(st.integers(top + 3, height)), draw(st.integers(left + 3, width))
        owner[top:bottom, left:right] = number + 1
    numbers = [n for n in range(1, 8) if np.any(owner == n)]
    boxes = []
    for n in numbers:
        rows, columns = np.nonzero(owner == n)
        boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    return {
        "image": COLOURS[owner],
        "name": "rectangles",
        "semantic": owner,
        "boxes": np.array(boxes, np.float32),
        "labels": np.array(numbers, np.int32) - 1,
        "crowd": np.array([n == 3 for n in numbers]),
        "masks": tuple(Bitmap(owner == n) for n in numbers),
        "index": 5,
    }


@st.composite
def views(draw, height: int, width: int) -> View:
    top, left = draw(st.integers(0, height - 2)), draw(st.integers(0, width - 2))
    window = Box(top, left, draw(st.integers(2, height - top)), draw(st.integers(2, width - left)))
    return View(window, draw(st.integers(2, 150)), draw(st.integers(2, 150)), draw(st.booleans()))


@st.composite
def viewed(draw) -> tuple[DenseExample, View]:
    example = draw(painted())
    return example, draw(views(*example["semantic"].shape))


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(viewed(), st.booleans())
def test_masks_boxes_and_map_follow_the_image(case: tuple[DenseExample, View], tight: bool) -> None:
    example, view = case
    shown = geometry.show(example, view, tight)
    image, semantic = np.asarray(shown["image"]).astype(int), shown["semantic"]
    size = view.height, view.width
    assert image.shape == (*size, 3) and semantic.shape == size and shown["size"] == size

    # what the image shows, found by colour alone
    off = np.abs(image[:, :, None] - COLOURS.astype(int)).max(-1)
    found = np.where(off.min(-1) < PURE, off.argmin(-1), -1)
    assert np.all((found == semantic) | (found == -1))
    # and where nothing is left out, no pixel well inside is lost to that: edges blur over two source pixels
    y_scale, x_scale = view.scale
    if min(y_scale, x_scale) >= 1:
        kernel = np.ones((2 * int(2 * y_scale + 1) + 1, 2 * int(2 * x_scale + 1) + 1), np.uint8)
        for colour in np.unique(semantic):
            inner = cv2.erode((semantic == colour).astype(np.uint8), kernel)
            assert np.all(found[inner == 1] == colour)

    assert shown["index"] == 5 and shown["name"] == "rectangles"
    for label, box, crowd, mask in zip(
        shown["labels"], shown["boxes"], shown["crowd"], shown["masks"], strict=True
    ):
        assert crowd == (label == 2)
        bitmap = mask.bitmap(*size)
        np.testing.assert_array_equal(bitmap, semantic == label + 1)
        assert np.all(box[2:] - box[:2] >= geometry.LEAST_SIDE)
        assert box.min() >= 0 and box[2] <= view.width and box[3] <= view.height
        if bitmap.any():
            rows, columns = np.nonzero(bitmap)
            around = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            assert np.all((around - box)[:2] > -HALF_A_PIXEL) and np.all((box - around)[2:] > -HALF_A_PIXEL)
            if tight:
                assert np.abs(box - around).max() < HALF_A_PIXEL
    for label in set(example["labels"].tolist()) - set(shown["labels"].tolist()):
        rows, columns = np.nonzero(semantic == label + 1)
        gone = not len(rows) or np.ptp(rows) == 0 or np.ptp(columns) == 0
        assert gone, "only what is thinner than a pixel goes"


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(viewed())
def test_showing_twice_is_showing_once(case: tuple[DenseExample, View]) -> None:
    """A view of the same size that only mirrors undoes a mirrored view."""
    example, view = case
    once = geometry.show(example, view)
    whole = Box(0, 0, view.height, view.width)
    twice = geometry.show(once, View(whole, view.height, view.width, True))
    assert once["scale"] == twice["scale"] == view.scale
    other = geometry.show(example, view._replace(flip=not view.flip))
    np.testing.assert_array_equal(twice["image"], other["image"])
    np.testing.assert_array_equal(twice["semantic"], other["semantic"])
    kept = [label for label in other["labels"] if np.any(other["semantic"] == label + 1)]
    assert twice["labels"].tolist() == kept, "a mask without a pixel cannot be shown again"
    places = [other["labels"].tolist().index(label) for label in kept]
    np.testing.assert_allclose(twice["boxes"], other["boxes"][places], atol=1e-3)


def test_the_example_stays_as_it_is() -> None:
    image = np.full((20, 30, 3), 7, np.uint8)
    boxes = np.array([[2, 3, 20, 18]], np.float32)
    example: DenseExample = {
        "image": image,
        "name": "",
        "semantic": None,
        "boxes": boxes,
        "labels": np.zeros(1, np.int32),
        "crowd": np.zeros(1, bool),
        "masks": (Bitmap(np.ones((20, 30), bool)),),
        "index": 0,
        "area": np.ones(1, np.float32),
        "scale": (0.5, 0.25),
    }
    shown = geometry.show(example, View(Box(5, 5, 10, 10), 40, 20, True), tight=True)
    assert shown["semantic"] is None and "area" not in shown
    assert shown["boxes"].tolist() == [[0, 0, 20, 40]]
    assert shown["scale"] == (2.0, 0.5), "4 and 2 times what it was"
    assert boxes.tolist() == [[2, 3, 20, 18]] and np.all(image == 7)


def test_an_image_without_objects() -> None:
    boxes = geometry.show_boxes(np.zeros((0, 4), np.float32), View(Box(0, 0, 9, 9), 4, 4))
    assert boxes.shape == (0, 4) and boxes.dtype == np.float32
    assert geometry.wide_enough(boxes).shape == (0,)


@pytest.mark.parametrize(
    ("flip", "expected"),
    [  # by hand: x = (x - 10) * 2, y = (y - 20) * 3, cut off at 0, 60 and 90; mirrored x = 60 - x
        (False, [[0, 0, 20, 30], [40, 60, 60, 90], [60, 0, 60, 90]]),
        (True, [[40, 0, 60, 30], [0, 60, 20, 90], [0, 0, 0, 90]]),
    ],
)
def test_boxes_by_hand(flip: bool, expected: list) -> None:
    view = View(Box(20, 10, 30, 30), 90, 60, flip)
    boxes = np.array([[5, 5, 20, 30], [30, 40, 99, 99], [45, 0, 50, 60]], np.float32)
    shown = geometry.show_boxes(boxes, view)
    np.testing.assert_allclose(shown, expected, atol=1e-4)
    assert geometry.wide_enough(shown).tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("size", "canvas", "expected"),
    [  # the first three: mmcv's rescale_size to (1333, 800)
        ((480, 640), None, (800, 1067)),
        ((427, 640), None, (800, 1199)),
        ((500, 1000), None, (667, 1333)),
        ((640, 480), None, (1067, 800)),
        ((640, 480), (800, 1344), (800, 600)),
        ((1, 4000), None, (1, 1333)),
    ],
)
def test_fit(size: tuple[int, int], canvas: tuple[int, int] | None, expected: tuple[int, int]) -> None:
    view = geometry.fit(*size, 800, 1333, canvas)
    assert (view.height, view.width) == expected
    assert view.window == Box(0, 0, *size) and not view.flip


def test_a_mask_in_its_box() -> None:
    """At the box's own resolution it is the part of the bitmap, as it is and mirrored."""
    pixels = np.random.default_rng(0).random((40, 60)) < 0.5
    box = np.array([10, 5, 26, 21], np.float32)
    part = pixels[5:21, 10:26]
    np.testing.assert_array_equal(geometry.in_box(Bitmap(pixels), 40, 60, box, 16), part)
    mirrored = geometry.Viewed(pixels, View(Box(0, 0, 40, 60), 40, 60, True))
    there = np.array([60 - 26, 5, 60 - 10, 21], np.float32)
    np.testing.assert_array_equal(mirrored.in_box(there, 16), part[:, ::-1])
    coarse = geometry.in_box(Bitmap(pixels), 40, 60, box, 48)
    np.testing.assert_array_equal(coarse, np.kron(part, np.ones((3, 3))))
    assert coarse.dtype == np.uint8


@pytest.mark.parametrize("size", [(40, 40), (80, 50), (300, 500)])
@pytest.mark.parametrize("flip", [False, True])
def test_a_disc_is_a_disc_in_every_view(size: tuple[int, int], flip: bool) -> None:
    """Inside its box a disc fills the same points, whatever the scale: the mask goes with the box."""
    rows, columns = np.indices((100, 100)) + 0.5
    disc = (rows - 52) ** 2 + (columns - 45) ** 2 < 30**2
    mask = geometry.Viewed.of(disc, View(Box(10, 5, 80, 85), *size, flip))
    assert mask is not None
    box = mask.box()
    steps = (np.arange(112) + 0.5) / 56 - 1
    expected = steps[:, None] ** 2 + steps**2 < 1
    assert np.mean(mask.in_box(box, 112) == expected) > 0.97  # the edge is one of 60 pixels wide


def test_of_a_mask_only_the_part_around_it_is_kept() -> None:
    """Bitmaps of a large image for each of its objects would fill the memory."""
    pixels = np.zeros((400, 600), bool)
    pixels[100:108, 200:230] = True
    view = View(Box(50, 100, 300, 110), 300, 220, True)  # which cuts the object off at column 210
    mask = geometry.Viewed.of(pixels, view)
    assert mask is not None and mask.pixels.shape == (8, 10) and mask.pixels.base is None
    np.testing.assert_array_equal(mask.bitmap(300, 220), geometry.show_labels(pixels, view))
    np.testing.assert_array_equal(mask.box(), [0, 50, 20, 58])
    assert geometry.Viewed.of(pixels, View(Box(0, 0, 90, 600), 90, 600)) is None


def test_masks_of_another_size_are_refused() -> None:
    mask = geometry.Viewed(np.ones((10, 10), bool), View(Box(0, 0, 10, 10), 5, 7))
    with pytest.raises(ValueError, match="5x7 pixels, its image has 7x5"):
        mask.bitmap(7, 5)
    with pytest.raises(ValueError, match="10x10"):
        geometry.in_box(Bitmap(np.ones((10, 10), bool)), 9, 10, np.zeros(4, np.float32), 4)
