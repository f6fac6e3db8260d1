"""COCO on disk: examples, layouts, and what is missing."""

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from dense_folders import (
    CATEGORIES,
    HEIGHT,
    NAMES,
    SQUARE,
    SQUARE_PIXELS,
    WIDTH,
    coco_content,
    many_squares,
    write_coco,
)

from train_tpu.data import coco
from train_tpu.errors import UserError


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return write_coco(tmp_path / "coco")


def test_examples(directory: Path) -> None:
    dataset = coco.load(directory)
    assert dataset.class_names == NAMES and dataset.category_ids == (1, 3, 90)
    assert dataset.tasks == ("detection",) and not dataset.embedded
    assert dataset.class_counts == (0, 1, 0), "a crowd is no object"
    assert dataset.most_objects == 2
    example = dataset.train[0]
    path = directory / "train2017/a.png"
    assert example["image"] == path.read_bytes() and example["name"] == str(path)
    assert example["index"] == 0 and example["size"] == (HEIGHT, WIDTH) and example["semantic"] is None
    assert example["labels"].tolist() == [0, 1] and example["crowd"].tolist() == [True, False]
    assert example["boxes"].tolist() == [[28, 0, 30, 20], [4, 2, 14, 10]]
    assert example["boxes"].dtype == np.float32 and example["labels"].dtype == np.int32
    assert example["area"].tolist() == [40, 80]
    np.testing.assert_array_equal(example["masks"][1].bitmap(HEIGHT, WIDTH), SQUARE_PIXELS)
    assert example["masks"][0].bitmap(HEIGHT, WIDTH).sum() == 2 * HEIGHT


def test_images_without_objects_are_evaluated_and_not_learned(directory: Path) -> None:
    dataset = coco.load(directory)
    assert len(dataset.train) == 1 and len(dataset.held_out) == 2
    assert "1 image without objects left out of training" in dataset.notes
    empty = dataset.held_out[1]
    assert empty["boxes"].shape == (0, 4) and empty["masks"] == () and empty["index"] == 1
    everything = coco.load(directory, keep_empty=True)
    assert len(everything.train) == 2 and everything.train[1]["boxes"].shape == (0, 4)


def test_an_image_with_nothing_but_a_crowd_is_not_learned(tmp_path: Path) -> None:
    content = many_squares(3)
    content["annotations"][1]["iscrowd"] = 1
    source = coco.load(write_coco(tmp_path / "coco", train=content)).train
    assert [Path(source.name_of(i)).name for i in range(len(source))] == ["0.png", "2.png"]
    assert [source[i]["index"] for i in range(2)] == [0, 1]
    assert [source.image_id(i) for i in range(2)] == [100, 102]
    assert source.size_of(1) == (HEIGHT, WIDTH)
    assert source[1]["boxes"].tolist() == [[4, 3, 12, 11]], "of image 2"


def test_nothing_to_learn(tmp_path: Path) -> None:
    content = {**coco_content(), "annotations": []}
    with pytest.raises(UserError, match=r"instances_train2017.json: no image has an object to learn from"):
        coco.load(write_coco(tmp_path / "coco", train=content))


def test_nothing_to_score_against(tmp_path: Path) -> None:
    content = {**coco_content(), "annotations": []}
    with pytest.raises(UserError, match=r"instances_val2017.json: no image has an object to score against"):
        coco.load(write_coco(tmp_path / "coco", val=content))


def test_names_and_sizes_are_known_without_reading(directory: Path) -> None:
    source = coco.load(directory).held_out
    (directory / "val2017/b.png").unlink()
    assert source.name_of(1) == str(directory / "val2017/b.png") and source.size_of(1) == (HEIGHT, WIDTH)
    with pytest.raises(ValueError, match=r"^No such file or directory$"):
        source[1]
    assert repr(source) == f"CocoSource({directory / 'val2017'}, 2 images)"


def test_what_is_no_file_is_not_waited_for(directory: Path) -> None:
    source = coco.load(directory).held_out
    (directory / "val2017/a.png").unlink()
    os.mkfifo(directory / "val2017/a.png")
    with pytest.raises(ValueError, match="not a regular file"):
        source[0]


def test_the_training_split_is_not_needed_to_evaluate(directory: Path) -> None:
    no_training(directory)
    shutil.rmtree(directory / "train2017")
    dataset = coco.load(directory, held_out_only=True)
    assert len(dataset.train) == 0 and len(dataset.held_out) == 2 and dataset.class_names == NAMES


def test_more_images_missing_than_may_be(tmp_path: Path) -> None:
    """Of the four to learn from and the two held out."""
    directory = write_coco(tmp_path / "coco", train=many_squares(4))
    (directory / "train2017/3.png").unlink()
    assert len(coco.load(directory, most_missing=0.2).train) == 4
    message = (
        r"^1 image of instances_train2017.json missing in .*, such as 3.png: more than "
        r"--config.data.max_corrupt=0.1 allows of 6 images$"
    )
    with pytest.raises(UserError, match=message):
        coco.load(directory, most_missing=0.1)


def test_images_in_a_folder_images(directory: Path) -> None:
    (directory / "images").mkdir()
    (directory / "train2017").rename(directory / "images/train2017")
    dataset = coco.load(directory)
    assert dataset.train.name_of(0) == str(directory / "images/train2017/a.png")


def test_names_with_a_folder_of_their_own(tmp_path: Path) -> None:
    directory = write_coco(tmp_path / "coco")
    content = coco_content()
    content["images"][0]["file_name"] = "deep/a.png"
    (directory / "annotations/instances_train2017.json").write_text(json.dumps(content))
    (directory / "train2017/deep").mkdir()
    (directory / "train2017/a.png").rename(directory / "train2017/deep/a.png")
    dataset = coco.load(directory)
    assert dataset.train[0]["image"] and not any("missing" in note for note in dataset.notes)


def test_annotations_beside_the_images(directory: Path) -> None:
    """As Roboflow exports."""
    for split, name in (("train2017", "train"), ("val2017", "valid")):
        (directory / split).rename(directory / name)
        file = directory / f"annotations/instances_{split}.json"
        file.rename(directory / name / "_annotations.coco.json")
    (directory / "annotations").rmdir()
    assert coco.is_here(directory)
    dataset = coco.load(directory)
    assert dataset.train[0]["image"] and len(dataset.held_out) == 2
    (directory / "valid").rename(directory / "other")
    with pytest.raises(UserError, match=r"no .*val/_annotations.coco.json or .*test/_annotations"):
        coco.load(directory)


def test_other_annotation_files_of_coco_are_passed_over(directory: Path) -> None:
    (directory / "annotations/captions_train2017.json").write_text("{}")
    (directory / "annotations/person_keypoints_val2017.json").write_text("{}")
    assert len(coco.load(directory).held_out) == 2


def two_trainings(directory: Path) -> None:
    (directory / "annotations/instances_train2014.json").write_text("{}")


def no_training(directory: Path) -> None:
    (directory / "annotations/instances_train2017.json").unlink()


def no_held_out(directory: Path) -> None:
    (directory / "annotations/instances_val2017.json").unlink()


def no_images(directory: Path) -> None:
    (directory / "val2017").rename(directory / "pictures")


def other_images(directory: Path) -> None:
    for name in "ab":
        (directory / f"val2017/{name}.png").rename(directory / f"val2017/{name}{name}.png")


def other_categories(directory: Path) -> None:
    file = directory / "annotations/instances_val2017.json"
    content = {**coco_content(), "categories": [*CATEGORIES[:2], {"id": 90, "name": "zebra"}]}
    file.write_text(json.dumps(content))


def damaged(directory: Path) -> None:
    file = directory / "annotations/instances_val2017.json"
    file.write_bytes(file.read_bytes()[:50])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (two_trainings, r"annotations/ has instances_train2014.json, instances_train2017.json; leave one"),
        (no_training, r"no annotations/instances_train\*.json; expected annotations/instances_train\*"),
        (no_held_out, r"no annotations/instances_val\*.json or .*instances_test\*.json; expected"),
        (no_images, r"no folder .*/val2017 or .*/images/val2017 with the images of instances_val2017.json"),
        (other_images, r"val2017 holds none of the 2 images that .*val2017.json names, such as a.png"),
        (other_categories, r"have different categories: 90 \(toothbrush\) is in one of them only"),
        (damaged, r"instances_val2017.json is no valid JSON: "),
    ],
)
def test_directories_that_are_refused(directory: Path, damage, message: str) -> None:
    damage(directory)
    with pytest.raises(UserError, match=message) as caught:
        coco.load(directory)
    assert "\n" not in str(caught.value)


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    content = many_squares(4)
    content["annotations"].append({**SQUARE, "image_id": 101, "segmentation": []})
    directory = write_coco(tmp_path / "coco", train=content)
    (directory / "train2017/3.png").unlink()
    notes = coco.load(directory).notes
    said = "1 image of instances_train2017.json missing in"
    assert any(note.startswith(said) and note.endswith("such as 3.png") for note in notes)
    assert "1 of the annotations of instances_train2017.json left out: no mask that can be drawn" in notes
    assert f"held out: {directory / 'annotations/instances_val2017.json'}" in notes


def test_without_pycocotools(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Known before anything is read, not image by image."""
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(UserError, match=r"needs the package pycocotools, .* pip install 'hvjax\[train\]'"):
        coco.load(directory)
