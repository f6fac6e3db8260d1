"""Examples as rows of static shape."""

import io

import numpy as np
import pytest
from dense_folders import SQUARE_PIXELS
from PIL import Image

from train_tpu.data.dense_examples import DETECTION, IGNORE, SEGMENTATION, DenseExample
from train_tpu.data.dense_rows import Rows, draw
from train_tpu.data.masks import Bitmap, RunLengths

MEAN = (0.5, 0.2, 1.0)
COLOUR = [128, 51, 255]  # of the mean


def example(height: int = 20, width: int = 30, count: int = 1) -> DenseExample:
    """Gray, with `count` instances: each one pixel wider than the one before, the first 4 wide."""
    boxes = np.array([[2, 1, 6 + i, 5] for i in range(count)], np.float32).reshape(-1, 4)
    masks = []
    for i in range(count):
        pixels = np.zeros((height, width), bool)
        pixels[1:5, 2 : 4 + i] = True  # the left half of the first
        masks.append(Bitmap(pixels))
    return {
        "image": np.full((height, width, 3), 77, np.uint8),
        "name": "an example",
        "semantic": np.full((height, width), 3, np.uint8),
        "boxes": boxes,
        "labels": np.arange(count, dtype=np.int32),
        "crowd": np.zeros(count, bool),
        "masks": tuple(masks),
        "index": 9,
    }


def rows(task: str, canvas: tuple[int, int] = (24, 32), **changes) -> Rows:
    return Rows(task, canvas, **{"max_objects": 3, "mask_size": 4, "mean": MEAN, **changes})


@pytest.mark.parametrize("task", [SEGMENTATION, DETECTION])
def test_shapes_are_those_of_rows_and_of_padding(task: str) -> None:
    maker = rows(task)
    row, padding, shapes = maker.row(example()), maker.empty(2), maker.shapes(2)
    assert set(row) == set(padding) == set(shapes)
    for name, (shape, dtype) in shapes.items():
        assert padding[name].shape == shape and padding[name].dtype == dtype
        assert row[name].shape == shape[1:] and row[name].dtype == dtype, name
    assert padding["index"].tolist() == [-1, -1] and not padding["image"].any()


def test_an_image_lies_at_the_top_left_and_the_rest_has_the_mean_colour() -> None:
    for task in (SEGMENTATION, DETECTION):
        row = rows(task).row(example())
        assert (row["image"][:20, :30] == 77).all()
        assert (row["image"][20:] == COLOUR).all() and (row["image"][:, 30:] == COLOUR).all()
        assert row["index"] == 9


def test_labels_of_a_row_and_of_padding() -> None:
    row = rows(SEGMENTATION).row(example())
    assert (row["labels"][:20, :30] == 3).all()
    assert (row["labels"][20:] == IGNORE).all() and (row["labels"][:, 30:] == IGNORE).all()
    assert (rows(SEGMENTATION).empty(1)["labels"] == IGNORE).all()


def test_instances_of_a_row_and_of_padding() -> None:
    shown = example(count=2)
    shown["crowd"][1] = True
    shown["scale"] = (0.5, 0.25)
    row = rows(DETECTION).row(shown)
    assert row["size"].tolist() == [20, 30] and row["scale"].tolist() == [0.5, 0.25]
    assert row["boxes"].tolist() == [[2, 1, 6, 5], [2, 1, 7, 5], [0, 0, 0, 0]]
    assert row["labels"].tolist() == [0, 1, -1] and row["crowd"].tolist() == [False, True, False]
    assert row["masks"][0].tolist() == [[1, 1, 0, 0]] * 4, "a pixel of the mask is one of the image here"
    assert not row["masks"][2].any()
    padding = rows(DETECTION).empty(1)
    assert (padding["labels"] == -1).all() and not padding["boxes"].any()
    assert padding["size"].tolist() == [[24, 32]] and padding["scale"].tolist() == [[1, 1]]


def test_without_instances() -> None:
    row = rows(DETECTION).row(example(count=0))
    assert (row["labels"] == -1).all() and row["scale"].tolist() == [1, 1]


def test_where_there_is_no_room_the_largest_objects_are_kept_in_their_order() -> None:
    shown = example(count=6)
    assert rows(DETECTION).row(shown)["labels"].tolist() == [3, 4, 5]
    shown["crowd"][4] = True
    assert rows(DETECTION).row(shown)["labels"].tolist() == [2, 3, 5], "a crowd goes first"
    assert rows(DETECTION, max_objects=6).row(shown)["labels"].tolist() == [0, 1, 2, 3, 4, 5]


def test_an_image_larger_than_the_canvas_is_a_bug() -> None:
    with pytest.raises(RuntimeError, match="an example: 20x30 pixels do not fit onto the canvas of 19x32"):
        rows(DETECTION, canvas=(19, 32)).row(example())


def encoded(pixels: np.ndarray, orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95, exif=exif)
    return file.getvalue()


LYING = np.full((20, 30, 3), 60, np.uint8)
ON_ITS_SIDE = 6  # EXIF: to be turned by 90 degrees


def test_drawing_decodes_the_image_and_draws_what_the_task_needs() -> None:
    stored = {**example(count=2), "image": encoded(LYING), "size": (20, 30), "area": np.ones(2, np.float32)}
    drawn = draw(stored, DETECTION)
    assert drawn["image"].shape == (20, 30, 3) and drawn["semantic"] is None
    assert drawn["masks"] == stored["masks"] and "area" in drawn
    drawn = draw(stored, SEGMENTATION)
    assert drawn["masks"] == () and drawn["boxes"].shape == (0, 4) and "area" not in drawn
    assert drawn["semantic"] is stored["semantic"]
    assert isinstance(stored["image"], bytes) and len(stored["masks"]) == 2, "nothing of it was changed"


def test_damaged_run_lengths_are_found_before_they_are_drawn() -> None:
    damaged = {**example(), "semantic": None, "masks": (RunLengths((20, 30), [500, 99]),)}
    with pytest.raises(ValueError, match="a run-length mask of 599 pixels, its image has 20x30"):
        draw(damaged, DETECTION)


def test_a_file_is_read_as_it_lies_or_upright_whichever_was_annotated() -> None:
    image = encoded(LYING, ON_ITS_SIDE)
    assert draw({**example(), "image": image, "size": (20, 30)}, DETECTION)["image"].shape == (20, 30, 3)
    upright = draw({**example(30, 20), "image": image, "size": (30, 20)}, DETECTION)
    assert upright["image"].shape == (30, 20, 3)
    assert draw({**example(30, 20), "image": image}, SEGMENTATION)["image"].shape == (30, 20, 3)


def test_images_and_masks_of_other_sizes_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match="the image has 20x30 pixels, its annotations 20x31"):
        draw({**example(20, 31), "image": encoded(LYING), "size": (20, 31)}, DETECTION)
    with pytest.raises(ValueError, match="the image has 20x30 pixels, its annotations 10x30"):
        draw({**example(10, 30), "image": LYING}, SEGMENTATION)
    with pytest.raises(ValueError, match="a mask of 20x30 pixels, its image has 10x15"):
        draw(
            {**example(), "semantic": None, "image": LYING[:10, :15], "masks": (Bitmap(SQUARE_PIXELS),)},
            DETECTION,
        )
