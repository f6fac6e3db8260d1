"""Pages of predictions beside the truth."""

from pathlib import Path

import numpy as np
import pytest
from detection_cases import NAMES, made_up
from PIL import Image, ImageColor

from train_tpu.evaluation import dense_pictures
from train_tpu.evaluation.dense_pictures import (
    LARGE_SIDE,
    SIDE,
    DetectionPictures,
    Row,
    SegmentationPictures,
    draw_page,
)
from train_tpu.evaluation.overlays import WRONG
from train_tpu.evaluation.sheets import GAP, HEAD, LINE, MARGIN


def segmentation_batch(images: int, classes: int = 3, height: int = 30, width: int = 40):
    """Stripes of each class; the prediction is wrong in the upper half of the image. First comes padding."""
    stripes = np.arange(width) * classes // width
    labels = np.tile(stripes, (images + 1, height, 1)).astype(np.uint8)
    predicted = labels.astype(np.int32)
    predicted[:, : height // 2] = (predicted[:, : height // 2] + 1) % classes
    batch = {
        "image": np.random.default_rng(0).integers(0, 256, (images + 1, height, width, 3)).astype(np.uint8),
        "labels": labels,
        "index": np.array([-1, *range(images)], np.int32),
    }
    return {"classes": predicted}, batch


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


def test_page_of_classes(tmp_path: Path) -> None:
    """Four panels in a row, and half of the last in the colour of mistakes, which no other has."""
    pictures = SegmentationPictures(("sky", "sea", "rock"), count=2)
    pictures.add(*segmentation_batch(1))
    assert not pictures.full
    pictures.add(*segmentation_batch(3))
    assert pictures.full
    pictures.draw(tmp_path / "page.png", "a title")
    page = pixels_of(tmp_path / "page.png")
    assert page.shape[1] == 2 * MARGIN + 4 * (SIDE + GAP) - GAP
    panel = SIDE * (SIDE * 30 // 40)  # pixels
    left = MARGIN + 3 * (SIDE + GAP)
    wrong = (page[HEAD + LINE :, left : left + SIDE] == ImageColor.getrgb(WRONG)).all(-1).sum()
    assert 0.9 * panel < wrong < 1.1 * panel, "half of each of two panels"
    assert not (page[HEAD + LINE :, : left - GAP] == ImageColor.getrgb(WRONG)).all(-1).any()


def test_logits_are_drawn_by_their_best_class(tmp_path: Path) -> None:
    answers, batch = segmentation_batch(1)
    for name, given in (("a", answers), ("b", {"logits": np.eye(3)[answers["classes"]]})):
        pictures = SegmentationPictures(("sky", "sea", "rock"))
        pictures.add(given, batch)
        pictures.draw(tmp_path / f"{name}.png", "")
    np.testing.assert_array_equal(pixels_of(tmp_path / "a.png"), pixels_of(tmp_path / "b.png"))


def test_many_classes_take_their_colours_by_image(tmp_path: Path) -> None:
    """Two classes of 150 whose own colours would be the same are still told apart."""
    labels = np.zeros((1, 30, 40), np.uint8)
    labels[:, :, 20:] = 24
    batch = {"image": np.zeros((1, 30, 40, 3), np.uint8), "labels": labels, "index": np.zeros(1, np.int32)}
    pictures = SegmentationPictures([f"class {i}" for i in range(150)])
    pictures.add({"classes": labels}, batch)
    pictures.draw(tmp_path / "page.png", "")
    page, middle = pixels_of(tmp_path / "page.png"), MARGIN + SIDE + GAP + SIDE // 2
    row = HEAD + LINE + 20
    assert (page[row, middle - 20] != page[row, middle + 20]).any()


def test_page_of_instances(tmp_path: Path) -> None:
    """Three panels, the first of them the image itself, without the padding of its batch."""
    case = made_up(0)
    pictures = DetectionPictures(NAMES, count=2)
    pictures.add(case.answers, case.batch)
    assert pictures.full
    pictures.draw(tmp_path / "page.png", "a title")
    page = pixels_of(tmp_path / "page.png")
    widest = max(round(LARGE_SIDE * w / max(h, w)) for h, w in case.batch["size"][:2].tolist())
    assert page.shape[1] == 2 * MARGIN + 3 * (widest + GAP) - GAP


def test_only_what_is_sure_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr(
        dense_pictures,
        "draw_instances",
        lambda image, d, side: drawn.append(d) or dense_pictures.fit(image, side),
    )
    case = made_up(1)
    case.answers["scores"][0] = np.linspace(0, 1, case.answers["scores"].shape[1])
    case.batch["crowd"][0, 0] = True
    pictures = DetectionPictures(NAMES, count=1, sure=0.3)
    pictures.add(case.answers, case.batch)
    truth, found = drawn
    there = case.batch["labels"][0]
    assert list(truth.labels) == list(there[there >= 0])
    assert truth.captions[0] == f"{NAMES[there[0]]} (crowd)"
    sure = (case.answers["labels"][0] >= 0) & (case.answers["scores"][0] >= 0.3)
    assert list(found.labels) == list(case.answers["labels"][0][sure]) and len(found.labels) > 0
    first = np.flatnonzero(sure)[0]
    assert found.captions[0] == f"{NAMES[found.labels[0]]} {case.answers['scores'][0, first]:.2f}"
    height, width = case.batch["size"][0]
    assert all(mask.shape == (height, width) for mask in found.masks)


def test_a_long_legend_takes_more_lines(tmp_path: Path) -> None:
    panel = Image.new("RGB", (SIDE, 40))
    heights = []
    for count in (1, 60):
        legend = tuple((f"class number {i}", (9, 9, 9)) for i in range(count))
        draw_page([Row((panel,) * 4, "words", legend)], "abcd", tmp_path / "page.png", "title")
        heights.append(pixels_of(tmp_path / "page.png").shape[0])
    assert heights[1] > heights[0] + 5 * LINE


def test_an_empty_page_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no image"):
        DetectionPictures(NAMES).draw(tmp_path / "page.png", "")
    assert not (tmp_path / "page.png").exists()
