"""The image folder: what it reads, and which layouts it refuses."""

import shutil
from collections.abc import Callable
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


@pytest.mark.parametrize(
    ("files", "task"),
    [
        (("annotations/instances_val2017.json", "train2017/1.jpg", "val2017/2.jpg"), "detection"),
        (("train/_annotations.coco.json", "train/1.jpg", "valid/2.jpg"), "detection"),
        (("images/training/1.jpg", "annotations/training/1.png", "classes.txt"), "segmentation"),
    ],
)
def test_data_for_dense_tasks_is_not_taken_for_classes(
    tmp_path: Path, files: tuple[str, ...], task: str
) -> None:
    for name in files:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    with pytest.raises(UserError, match=rf"this is data for {task}, not folders of classes; take .*\.py"):
        folder.load(tmp_path)


def test_class_folders_beside_annotations_are_read(image_folder) -> None:
    directory = image_folder(count=1)
    (directory / "annotations").mkdir()
    (directory / "annotations/notes.json").touch()
    assert folder.load(directory).class_names == ("cat", "dog")


def test_missing_directory_is_an_error_and_no_fallback(tiny_config, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data.dir=.*/nowhere: no such directory"):
        open_dataset(tiny_config({"data.dir": str(tmp_path / "nowhere")}).data)


@pytest.fixture
def own_images(tmp_path: Path) -> Callable[..., Path]:
    """Call with images per class: DIR/<class>/<n>.png without a split, every file empty."""

    def make(**counts: int) -> Path:
        for name, count in counts.items():
            (tmp_path / name).mkdir(exist_ok=True)
            for i in range(count):
                (tmp_path / name / f"{i}.png").touch()
        return tmp_path

    return make


def held_out(directory: Path, share: float = 0.1) -> set[str]:
    dataset = folder.load(directory, share)
    train, kept = ([s.name_of(i) for i in range(len(s))] for s in (dataset.train, dataset.held_out))
    assert not set(train) & set(kept)
    return set(kept)


# Three standard deviations of the share of 400 images of a class, each held out or not on its own.
SHARE_SLACK = 3 * (0.1 * 0.9 / 400) ** 0.5


def test_a_folder_without_a_split_is_split_in_every_class(own_images) -> None:
    dataset = folder.load(own_images(cat=400, dog=400), 0.1)
    assert dataset.class_names == ("cat", "dog")
    assert len(dataset.train) + len(dataset.held_out) == 800
    for label in (0, 1):
        share = dataset.held_out.labels.count(label) / 400
        assert abs(share - 0.1) < SHARE_SLACK
        assert dataset.class_counts[label] == dataset.train.labels.count(label)
    assert "no train/ and val/" in dataset.notes[0]


def test_new_images_move_no_old_one(own_images) -> None:
    directory = own_images(cat=50, dog=50)
    before = held_out(directory)
    own_images(cat=120, dog=90, emu=40)
    after = held_out(directory)
    old = {path for path in after if int(Path(path).stem) < 50 and "emu" not in path}
    assert old == before and len(after) > len(before)


def test_the_split_is_written_down() -> None:
    """Another split would make scores of different versions incomparable."""
    names = [f"cat/{i}.jpg" for i in range(40)]
    assert [i for i, name in enumerate(names) if folder.is_held_out(name, 0.1)] == [3, 13, 30, 36, 38]


def test_small_classes_have_an_image_on_either_side(own_images) -> None:
    dataset = folder.load(own_images(a=2, b=3, c=2, d=1), 0.001)
    assert set(dataset.held_out.labels) == {0, 1, 2} and set(dataset.train.labels) == {0, 1, 2, 3}
    assert dataset.notes[1] == "classes with one image, which trains and is not held out: d"
    mostly = folder.load(own_images(a=2, b=3, c=2, d=1), 0.999)
    assert set(mostly.train.labels) == {0, 1, 2, 3}


def test_names_of_the_held_out_folder(image_folder) -> None:
    directory = image_folder(count=2)
    (directory / "val").rename(directory / "test")
    dataset = folder.load(directory)
    assert len(dataset.held_out) == 4 and dataset.notes == (f"held out: {directory / 'test'}",)


def test_images_in_subfolders_of_a_class_and_other_files(own_images) -> None:
    directory = own_images(cat=3, dog=3)
    (directory / "cat/more").mkdir()
    (directory / "cat/more/deep.JPG").touch()
    for name in ("cat/list.csv", "dog/notes.txt", "dog/.DS_Store", "README.md"):
        (directory / name).touch()
    dataset = folder.load(directory)
    assert len(dataset.train) + len(dataset.held_out) == 7
    assert dataset.notes[-1].startswith("2 files ignored that are no images")


def test_classes_with_the_name_of_a_split(own_images) -> None:
    dataset = folder.load(own_images(bus=3, train=3))
    assert dataset.class_names == ("bus", "train")


def test_one_class_is_no_task(own_images) -> None:
    with pytest.raises(UserError, match=r"one class folder only \(cat\)"):
        folder.load(own_images(cat=5))


def test_nothing_could_be_held_out(own_images) -> None:
    with pytest.raises(UserError, match="every class has one image only"):
        folder.load(own_images(cat=1, dog=1))
