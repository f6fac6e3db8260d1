"""Scores of files whose answers are known: the truth must score 1, and a truth that is mistaken must not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dense_folders import HEIGHT, NAMES, WIDTH, columns, many_squares, write_ade20k, write_coco

from export import dense_scores
from export.arguments import UsageError
from export.dense_file import DenseFile
from export.dense_scores import score

#: Images of HEIGHT x WIDTH are shown at twice their size, on a canvas that they do not fill.
SCALE, CANVAS, SIDES = 2, 64, (40, 64)
SHOWN = (SCALE * HEIGHT, SCALE * WIDTH)
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
#: Gray levels between two images of `dense_folders`, by which they are told apart.
LEVELS = 10
#: JPEG rounds gray levels, and normalising divides them: far below LEVELS.
GRAY = 1.5
BATCH, IMAGES = 2, 5
#: COCO adds 2^-52 to denominators.
RIGHT = 1 - 1e-9
#: Truth in wrong places: of ten thresholds of overlap few are met.
WRONG = 0.7

DETECTOR = DenseFile(
    content=b"",
    name="detector",
    task="detection",
    batch=BATCH,
    size=(CANVAS, CANVAS),
    input_layout="nchw",
    output_layout="nhwc",
    pixels=False,
    mean=MEAN,
    std=STD,
    classes=len(NAMES),
    class_names=NAMES,
    trained_sides=SIDES,
)
SEGMENTER = dataclasses.replace(
    DETECTOR, name="segmenter", task="segmentation", output_layout="nchw", classes=5, class_names=()
)


class Played:
    """A session that knows images by their gray level, and gives what `answer` gives to each number."""

    def __init__(self, answer: Callable[[int], dict[str, np.ndarray]]) -> None:
        self.answer = answer
        self.seen: list[int] = []

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        assert images.shape == (BATCH, 3, CANVAS, CANVAS) and images.dtype == np.float32
        levels = (images * np.reshape(STD, (3, 1, 1)) + np.reshape(MEAN, (3, 1, 1))) * 255
        height, width = SHOWN
        for row in levels:
            np.testing.assert_allclose(row[:, :height, :width], row[0, 0, 0], atol=GRAY)
        numbers = [round(float(row[0, 0, 0]) / LEVELS) for row in levels]
        self.seen += numbers
        rows = [self.answer(number) for number in numbers]
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def boxes_of(number: int, swapped: bool = False) -> dict[str, np.ndarray]:
    """The square of an image of `many_squares` on the canvas, and surer ones in its padding."""
    square = many_squares(IMAGES)["annotations"][number]
    x, y, side, _ = (SCALE * value for value in square["bbox"])
    box = [y, x, y + side, x + side] if swapped else [x, y, x + side, y + side]
    label = number % 3  # CATEGORIES in turn; NAMES are in the order of their ids
    return {
        "boxes": np.array([[2, 44, 20, 60], [61, 2, 63, 30], box, [0, 0, 0, 0]], np.float32),
        "scores": np.array([0.9, 0.8, 0.7, 0], np.float32),
        "labels": np.array([*[(1, 0, 2)[label]] * 3, -1], np.int32),
        "masks": np.ones((4, 28, 28), np.float32),
    }


def map_of(number: int, shift: int = 0) -> dict[str, np.ndarray]:
    """The stripes of `columns` on the canvas, each called by the class `shift` further."""
    stripes = np.where(columns(True) == 255, 0, columns(True) + shift) % 5
    labels = np.zeros((CANVAS, CANVAS), int)
    labels[: SHOWN[0], : SHOWN[1]] = stripes.repeat(SCALE, 0).repeat(SCALE, 1)
    return {"logits": np.eye(5, dtype=np.float32)[labels].transpose(2, 0, 1)}


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    pytest.importorskip("pycocotools")
    return write_coco(tmp_path / "coco", val=many_squares(IMAGES))


def test_a_detector_that_answers_the_truth(coco: Path) -> None:
    told: list[tuple[int, int]] = []
    session: Any = Played(boxes_of)
    found = score(DETECTOR, session, str(coco), tell=lambda *done: told.append(done))
    assert found.values["box_ap"] > RIGHT and found.values["mask_ap"] > RIGHT
    assert found.values["count"] == IMAGES and found.unreadable == 0 and session.seen[:IMAGES] == [*range(5)]
    assert told == [(2, IMAGES), (4, IMAGES), (IMAGES, IMAGES)]
    few = score(DETECTOR, session, str(coco), images=3)
    assert few.values["count"] == 3 and few.values["box_ap"] > RIGHT


def test_a_detector_that_swaps_its_axes(coco: Path) -> None:
    session: Any = Played(lambda number: boxes_of(number, swapped=True))
    assert score(DETECTOR, session, str(coco)).values["box_ap"] < WRONG


def test_sides_that_the_file_does_not_say_are_those_of_the_canvas(
    coco: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They show the images larger than at twice their size, for which the answers are."""
    monkeypatch.setitem(globals(), "SHOWN", (int(HEIGHT * CANVAS / WIDTH), CANVAS))
    unsaid, session = dataclasses.replace(DETECTOR, trained_sides=None), Played(boxes_of)
    known: Any = session
    assert score(unsaid, known, str(coco)).values["box_ap"] < WRONG
    monkeypatch.undo()
    assert score(unsaid, known, str(coco), sides=SIDES).values["box_ap"] > RIGHT


def test_a_segmenter_that_answers_the_truth(tmp_path: Path) -> None:
    folder = str(write_ade20k(tmp_path / "pairs", IMAGES, own=True))
    session: Any = Played(map_of)
    found = score(SEGMENTER, session, folder)
    assert found.values["miou"] == 1 and found.values["count"] == IMAGES
    mistaken: Any = Played(lambda number: map_of(number, shift=1))
    assert score(SEGMENTER, mistaken, folder).values["miou"] == 0


def test_unreadable_images_are_told(coco: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (coco / "val2017" / "3.png").write_bytes(b"\x89PNG broken")
    session: Any = Played(lambda number: boxes_of(min(number, IMAGES - 1)))
    with pytest.raises(RuntimeError, match="1 of 5 images cannot be read, more than the 1% that may be"):
        score(DETECTOR, session, str(coco))
    monkeypatch.setattr(dense_scores, "MAX_CORRUPT", 0.5)
    found = score(DETECTOR, session, str(coco))
    assert (found.unreadable, found.values["count"]) == (1, IMAGES - 1)
    assert any("1 unreadable image skipped" in line for line in found.notices)
    assert any("3.png" in line for line in found.notices)


def test_classes_of_other_names_or_another_number(coco: Path) -> None:
    session: Any = Played(boxes_of)
    other = dataclasses.replace(DETECTOR, class_names=("person", "dog", "tooth"))
    with pytest.raises(UsageError, match="class 1 is 'cat' in coco, and 'dog' in the answers of detector"):
        score(other, session, str(coco))
    with pytest.raises(UsageError, match="has 3 classes, and detector answers 4"):
        score(dataclasses.replace(DETECTOR, classes=4, class_names=()), session, str(coco))
    assert not session.seen


def test_mistakes_are_told_in_words_of_the_command(tmp_path: Path) -> None:
    session: Any = Played(boxes_of)
    with pytest.raises(UsageError, match=r"^--data \S*nowhere: no such directory"):
        score(DETECTOR, session, str(tmp_path / "nowhere"))
    tiny = dataclasses.replace(DETECTOR, size=(32, 32))
    with pytest.raises(UsageError, match=r"^the file takes images of \(32, 32\): drawn scenes"):
        score(tiny, session, "")
