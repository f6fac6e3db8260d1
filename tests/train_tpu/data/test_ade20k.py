"""Pairs of an image and a map of classes."""

import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from dense_folders import HEIGHT, WIDTH, columns, write_ade20k
from PIL import Image

from train_tpu.data import ade20k
from train_tpu.data.dense_examples import IGNORE
from train_tpu.errors import UserError


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return write_ade20k(tmp_path / "ade")


def test_zero_is_no_class_in_ade20k(directory: Path) -> None:
    dataset = ade20k.load(directory)
    assert dataset.class_names == ("wall", "door", "screen door", "screen")
    assert dataset.tasks == ("segmentation",) and not dataset.embedded
    example = dataset.train[1]
    path = directory / "images/training/1.jpg"
    assert example["image"] == path.read_bytes() and example["name"] == str(path) == dataset.train.name_of(1)
    assert example["index"] == 1 and example["boxes"].shape == (0, 4) and example["masks"] == ()
    semantic = example["semantic"]
    assert semantic is not None and semantic.dtype == np.uint8 and semantic.shape == (HEIGHT, WIDTH)
    assert semantic[0, ::6].tolist() == [IGNORE, 0, 1, 2, 3]
    assert "0 in the maps is no class and is ignored" in dataset.notes


def test_255_is_no_class_in_either(tmp_path: Path, directory: Path) -> None:
    values = columns(own=True)
    Image.fromarray(values).save(directory / "annotations/training/0.png")
    semantic = ade20k.load(directory).train[0]["semantic"]
    assert semantic is not None and (semantic[:, -1] == IGNORE).all() and semantic[0, -2] == 3
    own = ade20k.load(write_ade20k(tmp_path / "own", own=True))
    assert own.class_names == ("sky", "road", "car", "tree", "dog")
    np.testing.assert_array_equal(own.train[0]["semantic"], values)
    assert len(own.train) == len(own.held_out) == 3


def test_names_that_two_classes_share_are_written_out(directory: Path) -> None:
    (directory / "objectInfo150.txt").write_text(
        "Idx\tName\n1\tscreen, crt\n2\tscreen, movie\n3\tdoor, gate\n4\twall\n"
    )
    assert ade20k.load(directory).class_names == ("screen, crt", "screen, movie", "door", "wall")


@pytest.mark.parametrize("mode", ["P", "1", "L"])
def test_maps_with_a_palette_or_one_bit(tmp_path: Path, mode: str) -> None:
    values = np.array([[0, 1], [1, 0]], np.uint8)
    image = Image.fromarray(values.astype(bool) if mode == "1" else values)
    if mode == "P":
        image.putpalette([200, 0, 0, 0, 200, 0])
    image.save(tmp_path / "map.png")
    np.testing.assert_array_equal(ade20k.read_map(tmp_path / "map.png"), values)


def rgb(path: Path) -> None:
    Image.new("RGB", (WIDTH, HEIGHT)).save(path)


def sixteen_bits(path: Path) -> None:
    Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint16)).save(path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


def text(path: Path) -> None:
    path.write_text("no image")


def unknown_class(path: Path) -> None:
    Image.fromarray(np.full((HEIGHT, WIDTH), 5, np.uint8)).save(path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (rgb, "its pixels are RGB; expected 8-bit gray or palette"),
        (sixteen_bits, "its pixels are I;16; expected"),
        (cut, "the map .*1.png: ."),
        (text, "not an image"),
        (Path.unlink, "No such file"),
        (unknown_class, "has pixels of 5, and there are 4 classes"),
    ],
)
def test_maps_that_cannot_be_read_are_named(directory: Path, damage, message: str) -> None:
    """A ValueError: the pipeline counts it with the corrupt images."""
    source = ade20k.load(directory).train
    path = directory / "annotations/training/1.png"
    damage(path)
    with pytest.raises(ValueError, match=message) as caught:
        source[1]
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_an_image_that_vanished_is_an_unreadable_one(directory: Path) -> None:
    source = ade20k.load(directory).train
    (directory / "images/training/0.jpg").unlink()
    with pytest.raises(ValueError, match=r"^No such file or directory$"):
        source[0]


def test_the_training_split_is_not_needed_to_evaluate(directory: Path) -> None:
    shutil.rmtree(directory / "images/training")
    dataset = ade20k.load(directory, held_out_only=True)
    assert len(dataset.train) == 0 and len(dataset.held_out) == 3 and len(dataset.class_names) == 4


def gray(values: np.ndarray, bits: int) -> bytes:
    """A gray PNG of so few bits, which Pillow does not write."""
    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, 0, 0, 0, 0)
    each = np.unpackbits(values[..., None], axis=-1)[..., 8 - bits :].reshape(len(values), -1)
    rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in each)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_gray_of_few_bits_keeps_its_numbers(tmp_path: Path, bits: int) -> None:
    values = np.arange(2**bits, dtype=np.uint8).reshape(2, -1)
    (tmp_path / "map.png").write_bytes(gray(values, bits))
    np.testing.assert_array_equal(ade20k.read_map(tmp_path / "map.png"), values)


def test_a_mark_of_the_encoding_and_empty_lines_at_the_end_of_the_names(tmp_path: Path) -> None:
    own = write_ade20k(tmp_path / "own", own=True)
    (own / "classes.txt").write_bytes("\ufeffsky\r\nroad\ncar\n\n \n".encode())
    assert ade20k.load(own).class_names == ("sky", "road", "car")


def no_map(directory: Path) -> None:
    (directory / "annotations/validation/2.png").unlink()


def no_folder_of_maps(directory: Path) -> None:
    (directory / "annotations/validation").rename(directory / "annotations/other")


def no_held_out(directory: Path) -> None:
    (directory / "images/validation").rename(directory / "images/more")


def no_names(directory: Path) -> None:
    (directory / "objectInfo150.txt").unlink()


def empty_names(directory: Path) -> None:
    (directory / "objectInfo150.txt").write_text("Idx\tName\n")


def too_many_names(directory: Path) -> None:
    no_names(directory)
    (directory / "classes.txt").write_text("\n".join(map(str, range(255))))


def an_empty_line(directory: Path) -> None:
    no_names(directory)
    (directory / "classes.txt").write_text("sky\n\ncar\n")


def one_map_of_two(directory: Path) -> None:
    (directory / "images/training/1.png").touch()


def names_of_bytes(directory: Path) -> None:
    (directory / "objectInfo150.txt").write_bytes(b"\xff\xfe\xff")


def empty_folder(directory: Path) -> None:
    for path in (directory / "images/training").iterdir():
        path.unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (no_map, r"validation has no map for 1 of the 3 images in .*, the first is 2.png"),
        (no_folder_of_maps, "no folder annotations/validation beside images/validation"),
        (no_held_out, "no folder images/validation or images/val or .*; expected images/ and annotations/"),
        (no_names, r"neither objectInfo150.txt \(ADE20K\) nor classes.txt"),
        (empty_names, "objectInfo150.txt names 0 classes; accepted are 1 to 254"),
        (too_many_names, "classes.txt names 255 classes; accepted are 1 to 254"),
        (an_empty_line, "classes.txt: line 2 is empty; the numbers in the maps are those of the lines"),
        (one_map_of_two, "images/training: 1.jpg and 1.png would share one map, 1.png"),
        (names_of_bytes, "cannot read .*objectInfo150.txt"),
        (empty_folder, "images/training holds no images"),
    ],
)
def test_directories_that_are_refused(directory: Path, damage, message: str) -> None:
    damage(directory)
    with pytest.raises(UserError, match=message) as caught:
        ade20k.load(directory)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_images_are_ignored_and_counted(directory: Path) -> None:
    (directory / "images/training/readme.txt").touch()
    (directory / "images/training/.hidden.jpg").touch()
    dataset = ade20k.load(directory)
    assert len(dataset.train) == 3 and "1 of the files in images/training ignored: no images" in dataset.notes
