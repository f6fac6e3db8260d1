"""The image folder: what it reads, and which layouts it refuses."""

import shutil
from pathlib import Path

import pytest

from train_tpu.data import folder
from train_tpu.data.sources import open_dataset
from train_tpu.errors import UserError


def test_examples_classes_and_order(image_folder) -> None:
    directory = image_folder(count=3)
    (directory / "train/cat/notes.txt").write_text("not an image")
    (directory / "train/cat/.hidden.png").write_text("not an image")
    dataset = folder.load(directory)
    assert dataset.class_names == ("cat", "dog") and not dataset.embedded
    assert len(dataset.train) == len(dataset.held_out) == 6
    example = dataset.train[4]
    path = directory / "train/dog/1.png"
    assert example == {"image": path.read_bytes(), "label": 1, "name": str(path)}


def test_a_file_that_vanished_is_an_unreadable_image(image_folder) -> None:
    directory = image_folder(count=1)
    dataset = folder.load(directory)
    (directory / "train/cat/0.png").unlink()
    assert dataset.train[0]["image"] == b""


def empty_class(directory: Path) -> None:
    (directory / "train/dog/0.png").unlink()


def missing_split(directory: Path) -> None:
    shutil.rmtree(directory / "val")


def extra_class(directory: Path) -> None:
    (directory / "val/bird").mkdir()


def no_classes(directory: Path) -> None:
    shutil.rmtree(directory / "train")
    (directory / "train").mkdir()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (empty_class, "train/dog holds no images"),
        (missing_split, r"no folder val/ beside train/; expected train/<class>/<image>"),
        (extra_class, "different class folders: bird is in one"),
        (no_classes, "train has no class folders"),
    ],
)
def test_layouts_that_are_refused(image_folder, damage, message: str) -> None:
    directory = image_folder(count=1)
    damage(directory)
    with pytest.raises(UserError, match=message):
        folder.load(directory)


def test_missing_directory_is_an_error_and_no_fallback(tiny_config, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data.dir=.*/nowhere: no such directory"):
        open_dataset(tiny_config({"data.dir": str(tmp_path / "nowhere")}).data)
