"""Records that TFDS wrote, read without TFDS and TensorFlow."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from train_tpu.data import tfds
from train_tpu.data.decode import decode
from train_tpu.data.sources import open_dataset
from train_tpu.errors import UserError

BLOBS = Path(__file__).parents[2] / "goldens/tfds/blobs/1.0.0"


def test_examples_and_classes(tiny_config) -> None:
    """What goldens/record_tfds.py put in: image i has level 10 i and class i % 3."""
    dataset = open_dataset(tiny_config({"data.dir": str(BLOBS)}).data)
    assert dataset.class_names == ("cat", "dog", "emu") and dataset.name == "blobs 1.0.0"
    assert len(dataset.train) == 10 and len(dataset.held_out) == 6
    found = []
    for source in (dataset.train, dataset.held_out):
        for i in range(len(source)):
            example = source[i]
            number = int(example["name"].removeprefix("pic").removesuffix(".jpg"))
            assert isinstance(example["image"], bytes) and example["label"] == number % 3
            pixels = decode(example["image"])
            assert pixels.shape == (12 + number % 3, 16, 3) and np.ptp(pixels) == 0
            assert pixels[0, 0, 0] == 10 * number
            found.append(number)
    assert sorted(found) == list(range(16)) and sorted(found[:10]) == list(range(10))


def rewrite(file: str, change: Callable[[dict], None]) -> Callable[[Path], None]:
    def damage(directory: Path) -> None:
        path = directory / file
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return damage


def other_format(info: dict) -> None:
    info["fileFormat"] = "tfrecord"


def train_only(info: dict) -> None:
    del info["splits"][1]


def no_label(features: dict) -> None:
    del features["featuresDict"]["features"]["label"]


def no_lengths(info: dict) -> None:
    del info["splits"][0]["shardLengths"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (rewrite("dataset_info.json", other_format), "wrote it as tfrecord.*array_record"),
        (rewrite("dataset_info.json", train_only), "splits train; needed are train and one of validation"),
        (rewrite("dataset_info.json", no_lengths), "not as TFDS writes it: KeyError"),
        (rewrite("features.json", no_label), r"one class label \(found 0\)"),
        (lambda d: (d / "features.json").unlink(), "cannot read .*features.json"),
        (lambda d: (d / "features.json").write_text("{"), "features.json is damaged"),
        (lambda d: (d / "label.labels.txt").write_text("cat\n"), "names 1 classes, features.json says 3"),
        (lambda d: next(d.glob("*train*00001-of*")).unlink(), "1 of 2 shards of train are missing"),
    ],
)
def test_what_is_refused(tmp_path: Path, damage, message: str) -> None:
    directory = tmp_path / "1.0.0"
    shutil.copytree(BLOBS, directory)
    damage(directory)
    with pytest.raises(UserError, match=message):
        tfds.load(directory)


def test_a_label_beyond_the_classes_is_an_unreadable_image(tmp_path: Path) -> None:
    """Its one-hot row would be zeros, and the image learned as none of the classes."""
    directory = tmp_path / "1.0.0"
    shutil.copytree(BLOBS, directory)
    (directory / "label.labels.txt").write_text("cat\ndog\n")
    rewrite("features.json", two_classes)(directory)
    source, refused = tfds.load(directory).train, 0
    for index in range(len(source)):
        try:
            assert source[index]["label"] in (0, 1)
        except ValueError as error:
            assert str(error) == "record with the label 2, where 0 to 1 are classes"
            refused += 1
    assert refused == 3


def two_classes(features: dict) -> None:
    features["featuresDict"]["features"]["label"]["classLabel"]["numClasses"] = 2
