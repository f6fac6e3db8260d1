"""Which reader a directory gets."""

from pathlib import Path

import pytest
from dense_folders import write_ade20k, write_coco

from train_tpu.data.coco import CocoSource
from train_tpu.data.dense_examples import DETECTION, SEGMENTATION, open_dense_dataset
from train_tpu.errors import UserError


def test_without_a_directory_scenes_are_drawn(tiny_config) -> None:
    data = tiny_config({"data.image_size": 64}).data
    for task in (SEGMENTATION, DETECTION):
        dataset = open_dense_dataset(data, task)
        assert dataset.embedded and task in dataset.tasks
        assert dataset.train[0]["image"].shape == (64, 64, 3)


def test_the_directory_decides_the_reader(tiny_config, tmp_path: Path) -> None:
    data = tiny_config({"data.dir": str(write_coco(tmp_path / "coco"))}).data
    assert isinstance(open_dense_dataset(data, DETECTION).train, CocoSource)
    with pytest.raises(UserError, match=r"data.dir=.*coco: COCO teaches detection, not segmentation"):
        open_dense_dataset(data, SEGMENTATION)
    data = tiny_config({"data.dir": str(write_ade20k(tmp_path / "ade"))}).data
    assert open_dense_dataset(data, SEGMENTATION).class_names[0] == "wall"
    with pytest.raises(UserError, match="teaches segmentation, not detection"):
        open_dense_dataset(data, DETECTION)


def test_json_files_beside_maps_are_not_coco_s(tiny_config, tmp_path: Path) -> None:
    directory = write_ade20k(tmp_path / "ade")
    (directory / "annotations/info.json").write_text("{}")
    data = tiny_config({"data.dir": str(directory)}).data
    assert len(open_dense_dataset(data, SEGMENTATION).train) == 3


def test_the_task_is_checked_before_annotations_are_read(tiny_config, tmp_path: Path) -> None:
    directory = write_coco(tmp_path / "coco")
    for file in (directory / "annotations").iterdir():
        file.write_text("no JSON")
    with pytest.raises(UserError, match="COCO teaches detection, not segmentation"):
        open_dense_dataset(tiny_config({"data.dir": str(directory)}).data, SEGMENTATION)


def test_more_drawn_objects_than_there_is_room_for(tiny_config) -> None:
    data = tiny_config({"data.image_size": 64, "data.max_objects": 5}).data
    assert "objects; of more than 5 (data.max_objects)" in open_dense_dataset(data, DETECTION).notes[0]
    assert not open_dense_dataset(data, SEGMENTATION).notes


def test_directories_that_are_nothing(tiny_config, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data.dir=.*/nowhere: no such directory"):
        open_dense_dataset(tiny_config({"data.dir": str(tmp_path / "nowhere")}).data, DETECTION)
    with pytest.raises(
        UserError, match=r"expected annotations/instances_train\*.json .* or images/ and annot"
    ):
        open_dense_dataset(tiny_config({"data.dir": str(tmp_path)}).data, DETECTION)


def test_more_objects_than_there_is_room_for(tiny_config, tmp_path: Path) -> None:
    """A square and a crowd are two."""
    directory = str(write_coco(tmp_path / "coco"))
    for room, notes in ((1, 1), (2, 0)):
        data = tiny_config({"data.dir": directory, "data.max_objects": room}).data
        found = [note for note in open_dense_dataset(data, DETECTION).notes if "2 objects" in note]
        assert len(found) == notes
